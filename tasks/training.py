"""The teacher's activations once, their candidates, then one student per arm and seed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prefect import get_run_logger

from dskd_core.config import Arm, PipelineConfig
from tasks.artifacts import opened, shown, shown_on_gpu, store_of
from tasks.policy import cpu_task, gpu_task
from tasks.stage_uris import StageUris

if TYPE_CHECKING:
    from dskd_core.training.loop.inputs import Inputs


@dataclass(frozen=True)
class InputUris:
    """The URIs of what a student is made from, as ``dskd_core.training.loop.inputs.Inputs``.

    Attributes:
        teacher, text: where the teacher runs beside the student; None otherwise.
    """

    untrained: str
    activations: str
    dictionary: str
    candidates: str
    teacher: str | None = None
    text: str | None = None

    def opened(self) -> "Inputs":
        """Open them."""
        from dskd_core.training.loop.inputs import Inputs

        return Inputs(**{name: opened(uri) for name, uri in vars(self).items() if uri})


def relations_of(config: PipelineConfig, arm: Arm) -> str:
    """Return whose relations an arm is trained with: dictionary, own or shuffled."""
    from dskd_core.training.losses.recipes import find_recipe

    return find_recipe(config.training, arm).relations


@gpu_task(name="untrained-student", task_run_name="untrained student")
def untrained(config: PipelineConfig, teacher: str, dictionary: str | None = None) -> str:
    """Publish the student as it is before training; return its URI.

    Layers that would not compute what the teacher's do are refused, and so is a dictionary that
    another teacher made, once there is one.
    """
    from dskd_core.training.candidates.store import check_same_teacher
    from dskd_core.training.student.shape import prepare_student

    store = store_of(config)
    uri = shown_on_gpu(
        "untrained student",
        lambda _: prepare_student(store, config.student, config.teacher, opened(teacher)),
    )
    if dictionary:
        check_same_teacher(store, opened(uri), opened(dictionary))
    return uri


@gpu_task(name="step-memory", task_run_name="memory of a step")
def step_memory(config: PipelineConfig, untrained: str, text: str | None = None) -> None:
    """Refuse a step that is larger than the memory of a worker with a GPU, where it has one.

    Args:
        config: the settings of all stages.
        untrained: the student before training.
        text: whose windows are trained on, once they are there.
    """
    from dskd_core.planning.capacity import check_step

    check_step(config.training, config.teacher, opened(untrained), opened(text) if text else None)


def mode_of(config: PipelineConfig, untrained: str, text: str) -> str:
    """Return whether the teacher runs once before training (cached) or beside it (online)."""
    from dskd_core.training.activations.store import resolve_mode

    return resolve_mode(config.training, opened(untrained), opened(text))


@cpu_task(name="candidates", task_run_name="candidates, relations {relations}")
def candidates(config: PipelineConfig, activations: str, dictionary: str, relations: str) -> str:
    """Find the candidates of every captured position; return their URI."""
    from dskd_core.training.candidates.store import margin_sentence, select_candidates

    uri = shown(
        f"candidates {relations}",
        lambda progress: select_candidates(
            store_of(config),
            config.training,
            opened(activations),
            opened(dictionary),
            relations=relations,
            progress=progress,
        ),
    )
    get_run_logger().info(margin_sentence(opened(uri), config.training))
    return uri


@cpu_task(name="precomputed", task_run_name="precomputed activations")
def precomputed(config: PipelineConfig) -> StageUris:
    """Find what an earlier run left, without the teacher; return its URIs."""
    from dskd_core.training.activations.precomputed import find_precomputed

    found = find_precomputed(store_of(config), config)
    return StageUris(
        untrained=found.untrained.uri,
        activations=found.activations.uri,
        dictionary=found.dictionary.uri,
    )


@gpu_task(name="student", task_run_name="student {arm} seed {seed}")
def student(config: PipelineConfig, inputs: InputUris, arm: Arm, seed: int) -> str:
    """Distil one student (Eq. 3-5); return its URI."""
    from dskd_core.training.loop.loop import train_student

    return shown_on_gpu(
        f"student {arm} seed {seed}",
        lambda progress: train_student(
            store_of(config),
            config.training,
            config.teacher,
            inputs.opened(),
            arm=arm,
            seed=seed,
            progress=progress,
        ),
    )


@cpu_task(name="hub", task_run_name="push {student}")
def push(config: PipelineConfig, student: str, scores: str) -> str:
    """Push a student, its scores in its card, to the hub repository; return its branch."""
    from dskd_core.training.student.hub import push_student

    repository = str(config.training.hub_repository)
    branch = push_student(opened(student), opened(scores), repository)
    get_run_logger().info("%s is on branch %s of %s", student, branch, repository)
    return branch
