"""The teacher's activations once, their candidates, then one student per arm and seed."""

from typing import TYPE_CHECKING

from prefect import get_run_logger

from dskd_core.config import Arm, PipelineConfig
from dskd_core.shards import Shard
from tasks.artifacts import opened, shown, shown_on_gpu, shown_shard, store_of
from tasks.policy import cpu_task, gpu_task

if TYPE_CHECKING:
    from dskd_core.training.loop.inputs import Inputs

Places = dict[str, str]
"""URIs by the names of ``dskd_core.training.loop.inputs.Inputs``."""


def inputs_of(places: Places) -> "Inputs":
    """Open what a student is made from."""
    from dskd_core.training.loop.inputs import Inputs

    return Inputs(**{name: opened(uri) for name, uri in places.items()})


def relations_of(arm: Arm) -> str:
    """Return whose relations an arm is trained with: dictionary, own or shuffled."""
    from dskd_core.training.candidates.controls import relations_of

    return relations_of(arm)


@cpu_task(name="untrained-student", task_run_name="untrained student")
def untrained(config: PipelineConfig, teacher: str, dictionary: str | None = None) -> str:
    """Publish the student as it is before training; return its URI.

    A dictionary that another teacher made is refused, where there is one yet.
    """
    from dskd_core.training.candidates.store import check_same_teacher
    from dskd_core.training.student.shape import prepare_student

    store = store_of(config)
    uri = shown(
        "untrained student",
        lambda _: prepare_student(store, config.student, config.teacher, opened(teacher)),
    )
    if dictionary is not None:
        check_same_teacher(store, opened(uri), opened(dictionary))
    return uri


def mode_of(config: PipelineConfig, untrained: str, text: str) -> str:
    """Return whether the teacher runs once before training (cached) or beside it (online)."""
    from dskd_core.training.activations.store import resolve_mode

    return resolve_mode(config.training, opened(untrained), opened(text))


def shards_of(config: PipelineConfig, text: str, mode: str) -> list[Shard]:
    """Return the shards the windows are captured in."""
    from dskd_core.training.activations.store import capture_shards

    return capture_shards(opened(text), config.training, mode)


@gpu_task(name="activations", task_run_name="activations shard {shard.name}")
def capture(
    config: PipelineConfig, teacher: str, untrained: str, text: str, mode: str, shard: Shard
) -> str:
    """Keep what training needs of the teacher over one shard; return the shard's URI."""
    from dskd_core.training.activations.store import capture_shard

    return shown_shard(
        f"activations shard {shard.name}",
        lambda progress: capture_shard(
            store_of(config),
            config.training,
            config.teacher,
            opened(teacher),
            opened(untrained),
            opened(text),
            mode,
            shard,
            progress=progress,
        ),
    )


@gpu_task(name="activations", task_run_name="activations")
def collect(config: PipelineConfig, untrained: str, text: str, mode: str, parts: list[str]) -> str:
    """Collect the shards; return the activations' URI."""
    from dskd_core.training.activations.store import collect_activations

    shards = [opened(part) for part in parts]
    return shown(
        "activations",
        lambda _: collect_activations(
            store_of(config), config.training, opened(untrained), opened(text), mode, shards
        ),
        parts=shards,
    )


@cpu_task(name="candidates", task_run_name="candidates, relations {relations}")
def candidates(config: PipelineConfig, activations: str, dictionary: str, relations: str) -> str:
    """Find the candidates of every captured position; return their URI."""
    from dskd_core.training.candidates.margin import margin_sentence
    from dskd_core.training.candidates.store import select_candidates

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
def precomputed(config: PipelineConfig) -> Places:
    """Find what an earlier run left, without the teacher; return its places."""
    from dskd_core.training.activations.precomputed import find_precomputed

    found = find_precomputed(store_of(config), config)
    return {
        "untrained": found.untrained.uri,
        "activations": found.activations.uri,
        "dictionary": found.dictionary.uri,
    }


@gpu_task(name="student", task_run_name="student {arm} seed {seed}")
def student(config: PipelineConfig, places: Places, arm: Arm, seed: int) -> str:
    """Distil one student (Eq. 3-5); return its URI."""
    from dskd_core.training.loop.loop import train_student

    return shown_on_gpu(
        f"student {arm} seed {seed}",
        lambda progress: train_student(
            store_of(config),
            config.training,
            config.teacher,
            inputs_of(places),
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
