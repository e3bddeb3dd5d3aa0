"""The dictionary to students, one per arm and seed, and their scores."""

from prefect import flow

from dskd_core.config import PipelineConfig
from flows.build_dictionary import build_dictionary
from flows.runner import DEFAULTS, Made, threads
from tasks import evaluation, training
from tasks.shards import one_by_one


@flow(name="dskd", flow_run_name="train on {config.teacher.source}", task_runner=threads())
def train(config: PipelineConfig = DEFAULTS) -> Made:
    """Train and score every student; the dictionary is built first, or found done.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage, and lists of them for students and scores.
    """
    return train_students(config, build_dictionary(config))


@flow(name="dskd", flow_run_name="students of {config.teacher.source}", task_runner=threads())
def train_students(config: PipelineConfig, made: Made) -> Made:
    """Train and score every student from a dictionary that stands.

    Args:
        config: the settings of all stages.
        made: the URIs that ``build_dictionary`` returned.

    Returns:
        ``made`` with activations, students and scores.
    """
    inputs = made["teacher"], made["corpus"], made["dictionary"]
    parts = one_by_one(
        "activations",
        training.capture,
        {
            f"activations shard {shard.name}": (config, *inputs, shard)
            for shard in training.shards_of(config, made["corpus"])
        },
    )
    activations = training.collect.submit(config, *inputs, parts).result()

    inputs = made["teacher"], made["dictionary"], activations
    subjects = [(arm, seed) for seed in config.evaluation.seeds for arm in config.evaluation.arms]
    students = one_by_one(
        "student",
        training.student,
        {f"student {arm} seed {seed}": (config, *inputs, arm, seed) for arm, seed in subjects},
    )
    judged = {"teacher": None} | {
        f"{arm} seed {seed}": uri for (arm, seed), uri in zip(subjects, students, strict=True)
    }
    scores = one_by_one(
        "scores",
        evaluation.scores,
        {f"scores {name}": (config, *inputs, name, uri) for name, uri in judged.items()},
    )
    return made | {"activations": activations, "students": students, "scores": scores}
