"""How long every stage takes on this machine: work over measured rates.

Matrix products are FLOPs over the rate that the probe measured, times a utilisation for the kind of
work; element-wise work over the vocabulary is a number of logits over a measured rate; the rest is
the size of an input over a rate of one core of the reference machine, times the speed of a core
here. The reference machine is virtual, with two cores of an AMD EPYC (AVX2, products in float32).
Each constant was measured there on the piece of work it stands for; none was fitted to a total.

The lexicon, its relations and its words are read beside the teacher and the corpus; a stage of that
branch is given the seconds it *adds* to the clock, so that all estimates add up to the run.
"""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from dskd_core.config import PipelineConfig
from dskd_core.decoder.precision import Precision
from dskd_core.planning.hours.probe import Host
from dskd_core.planning.hours.reading import branch_seconds, corpus_seconds
from dskd_core.planning.plan import STORE_BYTES_PER_SECOND, Plan
from dskd_core.planning.quantities import Quantities, StagePlan, dictionary_rows, forward_flops
from dskd_core.progress import StageEstimate
from dskd_core.threads import usable_processors
from dskd_core.training.losses.recipes import find_recipe

FORWARD = 0.9
"""A forward over windows of 256 tokens, against the probe's layers: 351 tokens a second extracted,
0.62 ms of each for the head, where the probe gave 106 GFLOP/s; 30 layers share no cache."""
TRAINING = 0.75
"""Likewise a training step, forward and back: 1.78 ms a position, 1.2 ms of it for the head."""
COMPILED, EAGER = 2.0, 4.0
"""A vocabulary kernel's time for a logit, over that of a softmax in float32."""
REFERENCE_FLOPS = 106e9
"""What the probe gave in float32 on the reference machine."""
COMPILATION_SECONDS = {"head": 15.0, "layers": 15.0}
"""Of the first kernel of a process, and of a trained layer's forward and backward."""
START_SECONDS, FIRST_START_SECONDS, IMPORT_SECONDS = 10.0, 15.0, 5.0
"""Imports and a start of Prefect's server; the migrations of its first; transformers."""
TASK_SECONDS = 0.5
"""Handing out a task, logging and reporting it, with SQLite."""
GGUF_TOKENS_A_SECOND, CONVERTED_PARAMETERS_A_SECOND = 7_000.0, 14e6
"""The vocabulary and merges of a GGUF file, and its weights, converted and written: SmolLM2-135M's
in 7 and 10 s."""
LOADED_PARAMETERS_A_SECOND, WRITTEN_PARAMETERS_A_SECOND = 60e6, 60e6
"""From and to safetensors, hashed and flushed."""
CLUSTERED_ROWS_A_SECOND, SHOWN_EXAMPLES_A_SECOND = 16_000.0, 10_000.0
"""Embeddings at k = 5, ten restarts and d = 576; examples with their text."""
DICTIONARY_ROWS_A_SECOND, CANDIDATES_A_SECOND = 20_000.0, 15_000.0
STUDENT_SECONDS, SCORE_SECONDS, JUDGED_A_SECOND = 1.0, 1.0, 6_000.0
"""Reading what a student is trained from; what scores are made from; positions judged against the
dictionary."""
REPORT_SECONDS = 5.0
BESIDE = 0.3
"""Share of the lexicon's branch that the clock sees while the left branch works beside it."""


@dataclass(frozen=True)
class _Rates:
    """Seconds of the parts that stages are made of."""

    quantities: Quantities
    host: Host

    @property
    def teacher(self) -> Precision:
        """The precision of the teacher's products."""
        return self.quantities.config.teacher.dtype  # type: ignore[return-value]

    @property
    def training(self) -> Precision:
        """The precision of training's products."""
        return self.quantities.config.training.compute_dtype  # type: ignore[return-value]

    @cached_property
    def body(self) -> float:
        """A teacher's forward of one token, without its head."""
        flops = forward_flops(self.quantities)
        return flops / (self.host.rate(self.teacher) * FORWARD)

    def tail(self, *, trained: bool) -> float:
        """One token through the layers from the first that trains on, or forward and back."""
        flops = forward_flops(self.quantities, self.quantities.tail_layers)
        rate = self.host.rate(self.training)
        if not trained:
            return flops / (rate * FORWARD)
        gradients = forward_flops(self.quantities, self.quantities.trained_layers)
        return (2 * flops + gradients) / (rate * TRAINING)

    def head(self, precision: Precision) -> float:
        """One product of a position with the vocabulary head."""
        return self.quantities.teacher.head_flops / self.host.head_rate(precision)

    @property
    def maximum(self) -> float:
        """The largest of one position's logits."""
        return self.quantities.teacher.n_vocabulary / self.host.max_values

    def kernel(self, *, compiled: bool) -> float:
        """Softmax, divergence and their gradient of one position's logits."""
        passes = COMPILED if compiled else EAGER
        return passes * self.quantities.teacher.n_vocabulary / self.host.softmax_values

    def core(self, seconds: float) -> float:
        """Seconds of one core here, that the reference machine takes ``seconds`` for."""
        return seconds / self.host.core


def forecast(
    plan: Plan,
    host: Host,
    done: Mapping[str, float] | None = None,
    *,
    first_start: bool = False,
) -> tuple[StageEstimate, ...]:
    """Return the seconds of every stage on this machine, in the order in which they run.

    They add up to the clock's: of the lexicon's branch, which runs beside the teacher and the
    corpus, only what it adds is counted. Benchmarks, words with known senses and prompts are left
    out: how long they are is known once they are read; and so are continuations, a few seconds.

    ``done`` is the share of each stage that stands already, 0 where unnamed; with ``first_start``
    Prefect's database is still to be made.
    """
    done, config = done or {}, plan.quantities.config
    rates = _Rates(plan.quantities, host)
    left: dict[str, Callable[[Plan, _Rates], float]] = {
        "teacher": _teacher,
        "corpus": _corpus,
        "embeddings": _embeddings,
        "senses": _senses,
        "dictionary": _dictionary,
        "untrained-student": _untrained,
        "activations": _activations,
        "candidates": _candidates,
        "students": _students,
        "scores": _scores,
        "report": lambda _, rates: rates.core(REPORT_SECONDS),
    }
    order = list(left)
    if config.training.mode == "precomputed":
        order = order[-4:]
    seconds = {stage: left[stage](plan, rates) * (1.0 - done.get(stage, 0.0)) for stage in order}
    first = _start(host, first_start=first_start)
    if config.training.mode == "precomputed":
        return _estimates(first | seconds)
    beside = seconds["teacher"] + seconds["corpus"]
    human = added_beside(_human(config, host, done), beside)
    return _estimates(first | {"teacher": seconds["teacher"]} | human | seconds)


def unplanned(
    config: PipelineConfig, host: Host, *, first_start: bool = False
) -> tuple[StageEstimate, ...]:
    """Return the seconds of what needs no plan: the start and the lexicon's branch, alone."""
    return _estimates(_start(host, first_start=first_start) | _human(config, host, {}))


def _start(host: Host, *, first_start: bool) -> dict[str, float]:
    seconds = START_SECONDS + (FIRST_START_SECONDS if first_start else 0.0)
    return {"start": seconds / host.core}


def _human(config: PipelineConfig, host: Host, done: Mapping[str, float]) -> dict[str, float]:
    return {
        stage: alone / host.core * (1.0 - done.get(stage, 0.0))
        for stage, alone in branch_seconds(config.lexicon).items()
    }


def added_beside(branch: Mapping[str, float], beside: float) -> dict[str, float]:
    """Return what each stage of a branch adds to the clock while another one has work beside it.

    Both branches hold Python's lock in turn, so a share of the shorter one is seen by the clock;
    what outlasts the other branch is seen whole.

    >>> added_beside({"lexicon": 5.0, "relations": 10.0}, beside=10.0)
    {'lexicon': 2.6666666666666665, 'relations': 5.333333333333333}

    Args:
        branch: seconds of its stages alone.
        beside: seconds of the other branch meanwhile.
    """
    total = sum(branch.values())
    seen = BESIDE * min(total, beside) + max(0.0, total - beside)
    return {stage: alone * seen / total if total else 0.0 for stage, alone in branch.items()}


def _estimates(seconds: Mapping[str, float]) -> tuple[StageEstimate, ...]:
    return tuple(StageEstimate(stage, value) for stage, value in seconds.items())


def _planned(plan: Plan, stage: str) -> StagePlan:
    return next(planned for planned in plan.stages if planned.stage == stage)


def _tasks(n: int, rates: _Rates) -> float:
    return rates.core(n * TASK_SECONDS)


def _written(stage: StagePlan) -> float:
    return stage.stored_bytes / STORE_BYTES_PER_SECOND


def _teacher(plan: Plan, rates: _Rates) -> float:
    teacher = plan.quantities.teacher
    if not _planned(plan, "teacher").host_bytes:  # left where it is
        return rates.core(IMPORT_SECONDS)
    converted = teacher.parameters() / CONVERTED_PARAMETERS_A_SECOND
    strings = teacher.n_vocabulary / GGUF_TOKENS_A_SECOND
    return rates.core(IMPORT_SECONDS + strings + converted)


def _corpus(plan: Plan, rates: _Rates) -> float:
    config, corpus = plan.quantities.config.corpus, plan.quantities.corpus
    return rates.core(corpus_seconds(config, corpus.n_tokens, usable_processors()))


def _embeddings(plan: Plan, rates: _Rates) -> float:
    stage = _planned(plan, "embeddings")
    token = rates.body
    if plan.quantities.config.embeddings.key == "predicted":
        token += rates.head(rates.teacher) + rates.maximum
    load = rates.core(plan.quantities.teacher.parameters() / LOADED_PARAMETERS_A_SECOND)
    return stage.n_tokens * token + load + _written(stage) + _tasks(stage.n_shards + 1, rates)


def _senses(plan: Plan, rates: _Rates) -> float:
    config, stage = plan.quantities.config.senses, _planned(plan, "senses")
    rows = plan.quantities.census.rows(plan.quantities.config.embeddings.max_occurrences)
    # The arithmetic grows with k, restarts and d; on the reference machine it is bound by both.
    scale = config.n_senses / 5 * config.n_restarts / 10 * plan.quantities.teacher.hidden_size / 576
    clustering = rows * scale / CLUSTERED_ROWS_A_SECOND
    shown = (
        plan.quantities.census.rows(config.n_senses) * config.n_examples / SHOWN_EXAMPLES_A_SECOND
    )
    # Half of the time is taken to be coarse rounds, the other polishing in float32: not measured.
    coarse: Precision = config.coarse_dtype  # type: ignore[assignment]
    slower = sum(REFERENCE_FLOPS / rates.host.rate(p) / 2 for p in (coarse, "float32"))
    return clustering * slower + rates.core(shown) + _tasks(stage.n_shards + 1, rates)


def _dictionary(plan: Plan, rates: _Rates) -> float:
    return rates.core(dictionary_rows(plan.quantities) / DICTIONARY_ROWS_A_SECOND) + _tasks(
        1, rates
    )


def _untrained(plan: Plan, rates: _Rates) -> float:
    parameters = plan.quantities.n_student_parameters
    return rates.core(parameters / WRITTEN_PARAMETERS_A_SECOND) + _tasks(1, rates)


def _activations(plan: Plan, rates: _Rates) -> float:
    stage, compiled = _planned(plan, "activations"), _compiles(plan)
    token = rates.body + 2 * rates.head(rates.teacher) + rates.kernel(compiled=compiled)
    compilation = rates.core(COMPILATION_SECONDS["head"]) if compiled else 0.0
    work = stage.n_tokens * token + compilation + _written(stage)
    return work + _tasks(stage.n_shards + 1, rates)


def _candidates(plan: Plan, rates: _Rates) -> float:
    config = plan.quantities.config
    recipes = [find_recipe(config.training, arm) for arm in config.evaluation.arms]
    n = len({"dictionary", *(recipe.relations for recipe in recipes)})
    positions = _planned(plan, "candidates").n_tokens
    return n * (rates.core(positions / CANDIDATES_A_SECOND) + _tasks(1, rates))


def _students(plan: Plan, rates: _Rates) -> float:
    training, quantities = plan.quantities.config.training, plan.quantities
    n_students = _planned(plan, "students").n_shards
    compiled = _compiles(plan)
    plain = plan.cached and training.divergence == "forward_kl"
    head = (2 if plain else 3) * rates.head(rates.training)
    head += rates.kernel(compiled=compiled) * (1 if plain else 2)
    position = rates.tail(trained=True) + head
    if not plan.cached:
        position += rates.body + rates.head(rates.teacher)
    steps = training.n_epochs * quantities.n_training_positions * position
    validated = (
        quantities.n_heldout_positions * _validations(plan) * (rates.tail(trained=False) + head)
    )
    exported = rates.core(quantities.n_student_parameters / WRITTEN_PARAMETERS_A_SECOND)
    each = steps + validated + exported + rates.core(STUDENT_SECONDS) + _tasks(1, rates)
    once = COMPILATION_SECONDS["head"] / 2 if compiled else 0.0  # a second kernel is faster
    if training.compile_layers and has_compiler():
        once += COMPILATION_SECONDS["layers"] * (quantities.shape.n_layers - quantities.shape.entry)
    return n_students * each + rates.core(once)


def _validations(plan: Plan) -> float:
    """Return how often as many positions as are held out are scored while a student trains."""
    training, corpus = plan.quantities.config.training, plan.quantities.config.corpus
    if training.validation_steps is None:
        return 0.0
    step = training.batch_windows * corpus.window_tokens
    n_steps = training.n_epochs * plan.quantities.n_training_positions / step
    return training.validation_share * n_steps / training.validation_steps


def _scores(plan: Plan, rates: _Rates) -> float:
    quantities = plan.quantities
    n_students = _planned(plan, "students").n_shards
    judged = rates.head(rates.training) + rates.maximum + rates.kernel(compiled=False)
    judged += rates.core(1.0 / JUDGED_A_SECOND)
    positions = quantities.n_heldout_positions + quantities.n_other_positions
    tails = n_students * positions * rates.tail(trained=False)
    each = rates.core(SCORE_SECONDS) + _tasks(1, rates)
    each *= 1 + len(quantities.other_texts)
    return (n_students + 1) * (positions * judged + each) + tails


def _compiles(plan: Plan) -> bool:
    return plan.quantities.config.training.compile_head and has_compiler()


def has_compiler() -> bool:
    """Say whether there is a C++ compiler, which torch.compile needs on a CPU."""
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++"))
