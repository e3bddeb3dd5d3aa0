"""The dictionary to students, one per arm and seed, and their scores."""

from collections.abc import Mapping

from dskd_core.config import Arm, PipelineConfig
from flows.activations import capture_activations
from flows.beginning import begin
from flows.build_dictionary import build_dictionary
from flows.runners.threads import DEFAULTS, Made, dskd_flow
from tasks import evaluation, prompts, training
from tasks.listeners import Planned, tell
from tasks.shards import in_slots


@dskd_flow("train on {config.teacher.source}")
def train(config: PipelineConfig = DEFAULTS) -> Made:
    """Train and score every student; the dictionary is built first, or found done.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage, and lists of them for students and scores.
    """
    config = begin(config)
    return train_students(config, dictionary_of(config))


def models_of(config: PipelineConfig, made: Made) -> dict[str, str]:
    """Return the URI of the teacher, where its artifact is among what was made, and of students."""
    teacher = {"teacher": made["teacher"]} if "teacher" in made else {}
    return teacher | dict(zip(_subjects(config), made["students"], strict=True))


def _subjects(config: PipelineConfig) -> dict[str, tuple[Arm, int]]:
    """Return arm and seed of every student by its name, in the order they are trained in."""
    evaluation = config.evaluation
    return {
        f"{arm} seed {seed}": (arm, seed) for seed in evaluation.seeds for arm in evaluation.arms
    }


def dictionary_of(config: PipelineConfig) -> Made:
    """Build the dictionary or find it done; nothing where all is precomputed."""
    return {} if config.training.mode == "precomputed" else build_dictionary(config)


@dskd_flow("students of {config.teacher.source}")
def train_students(config: PipelineConfig, made: Made) -> Made:
    """Train and score every student from a dictionary that stands.

    Args:
        config: the settings of all stages.
        made: the URIs that ``build_dictionary`` returned; empty where all is precomputed.

    Returns:
        ``made`` with activations, candidates, students and scores.
    """
    if config.training.mode == "precomputed":
        places = training.precomputed.submit(config).result()
    else:
        places = _captured(config, made)
    kinds = dict.fromkeys(["dictionary", *map(training.relations_of, config.evaluation.arms)])
    tell(Planned("candidates", len(kinds)))
    candidates = {
        relations: training.candidates.submit(
            config, places["activations"], places["dictionary"], relations
        ).result()
        for relations in kinds
    }
    subjects = _subjects(config)
    students = in_slots(
        "student",
        training.student,
        {
            f"student {name}": (
                config,
                places | {"candidates": candidates[training.relations_of(arm)]},
                arm,
                seed,
            )
            for name, (arm, seed) in subjects.items()
        },
    )
    judged = {"teacher": None} | dict(zip(subjects, students, strict=True))
    places |= {"candidates": candidates["dictionary"]}
    scores = in_slots(
        "scores",
        evaluation.scores,
        {f"scores {name}": (config, places, name, uri) for name, uri in judged.items()},
    )
    if config.training.hub_repository:
        pushed = zip(students, scores[1:], strict=True)  # the first scores are the teacher's
        in_slots("hub", training.push, {f"push {s}": (config, s, score) for s, score in pushed})
    return made | places | {"students": students, "scores": scores}


def _captured(config: PipelineConfig, made: Made) -> training.Places:
    """Run the teacher over the windows, for all of training or to score and calibrate on."""
    teacher = made["teacher"]
    untrained = training.untrained.submit(config, teacher, made["dictionary"]).result()
    text = _prompts(config, teacher) if config.prompts.sources else made["corpus"]
    mode = training.mode_of(config, untrained, text)
    inputs = {"teacher": teacher, "untrained": untrained, "text": text, "mode": mode}
    places = {
        "untrained": untrained,
        "activations": capture_activations(config, inputs),
        "dictionary": made["dictionary"],
    }
    return places | ({"teacher": teacher, "text": text} if mode == "online" else {})


def _prompts(config: PipelineConfig, teacher: str) -> str:
    """Write benchmark questions as prompts and let the teacher answer them."""
    questions = prompts.questions.submit(config, teacher).result()
    return answer_prompts(config, {"teacher": teacher, "questions": questions})


def answer_prompts(
    config: PipelineConfig, inputs: Made, done: Mapping[str, str] | None = None
) -> str:
    """Let the teacher answer the prompts; ``done`` are URIs of shards not to run."""
    teacher, questions = inputs["teacher"], inputs["questions"]
    parts = in_slots(
        "prompts",
        prompts.answer,
        {
            f"prompts shard {shard.name}": (config, teacher, questions, shard)
            for shard in prompts.shards_of(config, questions)
        },
        done,
    )
    return prompts.collect.submit(config, teacher, questions, parts).result()
