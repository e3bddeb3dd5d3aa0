"""How long a run will take on this machine, said before it begins; it never ends a run."""

from dataclasses import dataclass

from dskd_core.config import PipelineConfig
from dskd_core.errors import DskdError
from dskd_core.planning.hours.forecast import forecast, unplanned
from dskd_core.planning.hours.probe import Host, this_machine
from dskd_core.planning.plan import make_plan
from dskd_core.planning.standing import share_done
from dskd_core.progress import StageEstimate
from dskd_core.store.artifacts import ArtifactStore


@dataclass(frozen=True)
class RunEstimate:
    """What a run is expected to take.

    Attributes:
        stages: in the order in which they run; their seconds add up to the clock's.
        left_out: sentences on what is not in it.
        host: this machine, as measured; None where it could not be.
    """

    stages: tuple[StageEstimate, ...]
    left_out: tuple[str, ...] = ()
    host: Host | None = None

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return sum(stage.seconds for stage in self.stages)


def estimate_run(config: PipelineConfig, *, first_start: bool = False) -> RunEstimate:
    """Estimate a run on this machine: a plan, half a second of measuring, and what stands already.

    Nothing is downloaded but a hub teacher's config.json. Whatever cannot be planned is left out,
    and said: an estimate stops no run. With ``first_start`` Prefect's database is still to be made.
    """
    try:
        host = this_machine(config.teacher.device)
    except DskdError as error:
        return RunEstimate((), (f"No estimate: {error}",))
    try:
        plan = make_plan(config)
        done = share_done(ArtifactStore(config.root_uri), plan.quantities.config)
        stages = forecast(plan, host, done, first_start=first_start)
    except Exception as error:  # whatever it is, the run itself meets it and says it better
        told = f"Only the start and the lexicon's branch are estimated, not the rest: {error}"
        return RunEstimate(unplanned(config, host, first_start=first_start), (told,), host)
    return RunEstimate(stages, tuple(_left_out(config)), host)


def _left_out(config: PipelineConfig) -> list[str]:
    parts = {
        "prompts": bool(config.prompts.sources),
        "benchmarks": bool(config.evaluation.benchmarks),
        "words with known senses": bool(config.evaluation.tagged),
        "pushing students to the hub": bool(config.training.hub_repository),
    }
    named = [name for name, is_configured in parts.items() if is_configured]
    return [f"Left out: {', '.join(named)}."] if named else []
