"""The dictionary to students, one per arm and seed, and their scores."""

from dskd_core.config import Arm, PipelineConfig
from flows.beginning import begin
from flows.build_dictionary import build_dictionary
from flows.flow import DEFAULTS, dskd_flow
from flows.other_texts import capture_other_texts, score_other_texts
from flows.sharded import make_sharded
from tasks import evaluation, training, whole
from tasks.listeners import Planned, tell
from tasks.shards import in_slots
from tasks.stage_uris import StageUris
from tasks.training import InputUris


@dskd_flow("train on {config.teacher.source}")
def train(config: PipelineConfig = DEFAULTS) -> StageUris:
    """Train and score every student; the dictionary is built first, or found done.

    Args:
        config: the settings of all stages.

    Returns:
        The URI of the artifact of every stage.
    """
    config = begin(config)
    return train_students(config, find_dictionary(config))


def find_dictionary(config: PipelineConfig) -> StageUris:
    """Build the dictionary or find it done; nothing where all is precomputed.

    The student comes first, and the windows it is trained on: what cannot be one, or be trained in
    this memory, is refused before anything is made for it.
    """
    if config.training.mode == "precomputed":
        return StageUris()
    make_untrained(config)
    return build_dictionary(config)


def make_untrained(config: PipelineConfig) -> None:
    """Make the student as it is before training, and see whether a step of it has the memory."""
    model = whole.teacher.submit(config).result()
    untrained = training.untrained.submit(config, model).result()
    windows = None if config.prompts.sources else whole.corpus.submit(config, model).result()
    training.step_memory.submit(config, untrained, windows).result()


def models(config: PipelineConfig, uris: StageUris) -> dict[str, str]:
    """Return the URIs of the students by name, and of the teacher where the run has one."""
    teacher = {"teacher": uris.teacher} if uris.teacher else {}
    return teacher | dict(zip(_students(config), uris.students, strict=True))


def _students(config: PipelineConfig) -> dict[str, tuple[Arm, int]]:
    """Return arm and seed of every student by its name, in the order they are trained in."""
    evaluation = config.evaluation
    return {
        f"{arm} seed {seed}": (arm, seed) for seed in evaluation.seeds for arm in evaluation.arms
    }


@dskd_flow("students of {config.teacher.source}")
def train_students(config: PipelineConfig, uris: StageUris) -> StageUris:
    """Train and score every student from a dictionary that stands.

    Args:
        config: the settings of all stages.
        uris: what ``build_dictionary`` returned; nothing where all is precomputed.

    Returns:
        ``uris`` with activations, candidates, students and scores, those on other texts too.
    """
    if config.training.mode == "precomputed":
        uris, beside, others = training.precomputed.submit(config).result(), {}, {}
        training.step_memory.submit(
            config, *uris.needed("untrained", "activations").values()
        ).result()
    else:
        uris, beside, text = _captured(config, uris)
        others = capture_other_texts(config, uris, text)
    candidates = _candidates(config, uris)
    uris = uris.having(candidates=candidates["dictionary"])
    inputs = {
        relations: InputUris(
            **uris.needed("untrained", "activations", "dictionary"), candidates=found, **beside
        )
        for relations, found in candidates.items()
    }
    students = in_slots(
        "student",
        training.student,
        {
            f"student {name}": (config, inputs[training.relations_of(config, arm)], arm, seed)
            for name, (arm, seed) in _students(config).items()
        },
    )
    scores, other_scores = _scored(config, inputs["dictionary"], students, others)
    if config.training.hub_repository:
        pushed = zip(students, scores[1:], strict=True)  # the first scores are the teacher's
        in_slots("hub", training.push, {f"push {s}": (config, s, score) for s, score in pushed})
    return uris.having(students=students, scores=scores, other_scores=other_scores)


def _scored(
    config: PipelineConfig, inputs: InputUris, students: list[str], others: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Score the teacher and every student on held-out text, and on other texts; return both."""
    scored = {"teacher": None} | dict(zip(_students(config), students, strict=True))
    scores = in_slots(
        "scores",
        evaluation.scores,
        {f"scores {name}": (config, inputs, name, uri) for name, uri in scored.items()},
    )
    subjects = [(inputs, name, uri) for name, uri in scored.items()]
    return scores, score_other_texts(config, subjects, others)


def _captured(config: PipelineConfig, uris: StageUris) -> tuple[StageUris, dict[str, str], str]:
    """Run the teacher over the windows, for all of training or to score and calibrate on.

    Returns:
        ``uris`` with the activations; what runs beside a student: the teacher and the text, or
        nothing; and the text that students are trained on.
    """
    needed = uris.needed("teacher", "corpus", "dictionary")
    model = needed["teacher"]
    untrained = training.untrained.submit(config, model, needed["dictionary"]).result()
    text = needed["corpus"]
    if config.prompts.sources:
        text = _prompts(config, model)
        training.step_memory.submit(config, untrained, text).result()
    made_from = {"teacher": model, "text": text, "untrained": untrained}
    uris = uris.having(
        untrained=untrained,
        activations=make_sharded(config, "activations", made_from),
    )
    is_online = training.mode_of(config, untrained, text) == "online"
    return uris, {"teacher": model, "text": text} if is_online else {}, text


def _candidates(config: PipelineConfig, uris: StageUris) -> dict[str, str]:
    """Find the candidates for the relations of every arm, and of the dictionary itself."""
    arms = (training.relations_of(config, arm) for arm in config.evaluation.arms)
    kinds = dict.fromkeys(["dictionary", *arms])
    tell(Planned("candidates", len(kinds)))
    needed = uris.needed("activations", "dictionary").values()
    return {kind: training.candidates.submit(config, *needed, kind).result() for kind in kinds}


def _prompts(config: PipelineConfig, model: str) -> str:
    """Write benchmark questions as prompts and let the teacher answer them."""
    questions = whole.questions.submit(config, model).result()
    return make_sharded(config, "prompts", {"teacher": model, "questions": questions})
