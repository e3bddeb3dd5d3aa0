"""A step of training: cached, online, and as a plain transformers peer takes it.

Cached and online are the product's own run: what the teacher left is captured, written and read by
a thread ahead of the step, or the teacher runs beside the student. Relations are random, as large
as the plan says. The peer has two full models, full logits of both, and AdamW on the same two
layers (benchmarks/peers/plain.py), at its best: bfloat16 products, scaled-dot-product attention,
no gradient of anything frozen, no cache.

Compiling takes most of a part's time, so a step as written is timed first, and told.
"""

import gc
import statistics
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.gpu.part import Told
from benchmarks.gpu.scene import RECIPE, Scene, planned_bytes
from benchmarks.peers.plain import losses
from dskd_core.config import TrainingConfig
from dskd_core.corpus.store import Windows
from dskd_core.decoder.decoder import Decoder
from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import Dictionary
from dskd_core.planning.plan import Plan
from dskd_core.planning.quantities import dictionary_rows, online_flops, student_flops
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.activations.capture import Capturer, WindowStates, length_sorted_batches
from dskd_core.training.activations.layout import SHARD, write_shard
from dskd_core.training.activations.readers import (
    ActivationReader,
    LiveActivations,
    StoredActivations,
)
from dskd_core.training.candidates.nearest import Candidates
from dskd_core.training.candidates.readers import CandidateReader, LiveCandidates
from dskd_core.training.loop.step import Run, SenseInputs

_N_STEPS_CAPTURED = 4
_N_WARM = 3


def measure(scene: Scene, told: Told, mode: str) -> None:
    """Time the steps of one mode: cached, online or plain."""
    if mode == "plain":
        _measure_plain(scene, told)
        return
    plan = scene.plan(mode)
    windows = scene.text(_N_STEPS_CAPTURED * scene.sizes.batch_windows)
    teacher = scene.model()
    student = scene.model(scene.n_layers)
    _copy_weights(teacher, student)
    dictionary, rows = _dictionary(scene, plan)
    config = _endless(scene.config(mode).training)
    if mode == "cached":
        candidates: CandidateReader = _kept_candidates(teacher, scene, windows, dictionary, rows)
        captured, store = _captured(teacher, scene, windows, config)
        del teacher  # a run from stored activations never has it
        gc.collect()
        activations: ActivationReader = StoredActivations(captured, store)
    else:
        capturer = Capturer(teacher, scene.shape, None)
        activations = LiveActivations(capturer, windows, list(range(windows.n_windows)))
        candidates = LiveCandidates(dictionary, rows, config.n_candidates)
    senses = SenseInputs(rows, candidates, dictionary.has_relations(), dictionary.has_senses())
    # The toy has nothing to gain from compilers, which take minutes.
    for is_compiled in (False, True) if scene.is_gpu else (False,):
        scene.forget_peak()
        compiling = {"compile_head": is_compiled, "compile_layers": is_compiled}
        settings = config.model_copy(update=compiling)
        if is_compiled and isinstance(activations, LiveActivations):
            fast = activations.capturer.compiled(scene.sizes.window_tokens)
            activations = replace(activations, capturer=fast)
        run = Run.assemble(
            *(settings, RECIPE, 0),
            student=student,
            shape=scene.shape,
            activations=activations,
            senses=senses,
            margin=1.0,
        )
        seconds = _steps(scene, run)
        _tell(scene, told, plan, mode, seconds, "" if is_compiled else "as_written_")
        del run
        gc.collect()


def _steps(scene: Scene, run: Run) -> float:
    """Return the median seconds of a step, the first ones left out; read each as the log is."""
    seconds = []
    with run.reading_ahead(0):
        for number in range(_N_WARM + scene.sizes.n_steps):
            seconds.append(scene.seconds(lambda number=number: run.step(number)))  # type: ignore[misc]
    return statistics.median(seconds[_N_WARM:])


def _tell(scene: Scene, told: Told, plan: Plan, mode: str, seconds: float, prefix: str) -> None:
    sizes, quantities = scene.sizes, plan.quantities
    n_tokens = sizes.batch_windows * sizes.window_tokens
    training = quantities.config.training
    flops = student_flops(quantities) / (training.n_epochs * quantities.n_training_positions)
    if mode == "online":
        flops += online_flops(quantities, 1)
    rate = n_tokens / seconds
    print(f"{mode}, {prefix or 'compiled'}: {seconds * 1e3:.1f} ms a step, {rate:,.0f} tokens/s")
    figures = {
        "step_seconds": seconds,
        "tokens_per_second": rate,
        "flops_per_second": rate * flops,
        "peak_bytes": scene.peak_bytes(),
    }
    planned = planned_bytes(plan, "students")
    told(planned_bytes=planned, **{prefix + name: value for name, value in figures.items()})


def _endless(config: TrainingConfig) -> TrainingConfig:
    """Let the run have more steps than are taken, at a rate at which nothing explodes."""
    return config.model_copy(update={"n_epochs": 1000.0, "learning_rate": 1e-6})


@torch.no_grad()
def _copy_weights(teacher: Decoder, student: Decoder) -> None:
    theirs = teacher.model.state_dict()
    for name, value in student.model.state_dict().items():
        value.copy_(theirs[name])


def _dictionary(scene: Scene, plan: Plan) -> tuple[Dictionary, Tensor]:
    """Return random relations and, on the device, as many rows as the plan's dictionary has."""
    n_rows = dictionary_rows(plan.quantities)
    n_tokens, rng = int(scene.sizes.model["vocab_size"]), np.random.default_rng(0)

    def lists(counts: NDArray[np.int64]) -> Csr:
        offsets = np.concatenate(([0], np.cumsum(counts)))
        return Csr(offsets, rng.integers(0, n_rows, int(offsets[-1])))

    own = lists(np.full(n_tokens, 10))
    synonyms = lists(np.where(rng.random(n_tokens) < 0.4, 30, 0))
    antonyms = lists(np.where(rng.random(n_tokens) < 0.1, 10, 0))
    rows = torch.empty(
        n_rows, int(scene.sizes.model["hidden_size"]), dtype=torch.float16, device=scene.device
    ).normal_()
    return Dictionary(np.empty((0, 0), np.float16), own, synonyms, antonyms, "random"), rows


def _captured(
    teacher: Decoder, scene: Scene, windows: Windows, config: TrainingConfig
) -> tuple[Artifact, ArtifactStore]:
    """Capture all windows and publish them as a run does."""
    store = ArtifactStore(scene.config().root_uri)
    capturer = Capturer(teacher, scene.shape, None)
    found = []
    for batch in length_sorted_batches(windows, np.arange(windows.n_windows)):
        found += capturer.run_with_targets(
            windows, batch, temperature=config.temperature, compiled=False
        )
    part = Work("activations-shard", {"random": 0}, {})
    with store.publish(part) as draft:
        write_shard(draft.write_group(SHARD), windows, found, teacher.precision)
    whole = Work("activations", {"random": 0}, {})
    with store.publish(whole) as draft:
        draft.report["parts"] = [part.fingerprint]
    return store.get(whole.stage, whole.fingerprint), store


class _Kept:
    """Candidates of every position of every window, found once and kept, as a stored run has."""

    def __init__(self, found: dict[int, Candidates]) -> None:
        self._found = found

    def select(self, windows: list[WindowStates], chosen: list[NDArray[np.int64]]) -> Candidates:
        """Return those of positions of windows, on the host."""
        pieces = [
            (self._found[window.window], torch.from_numpy(here))
            for window, here in zip(windows, chosen, strict=True)
        ]
        positives = torch.cat([kept.positives[here] for kept, here in pieces])
        negatives = torch.cat([kept.negatives[here] for kept, here in pieces])
        opposed = torch.from_numpy(np.flatnonzero((negatives >= 0).any(dim=1).numpy()))
        return Candidates(positives, negatives, opposed)


def _kept_candidates(
    teacher: Decoder, scene: Scene, windows: Windows, dictionary: Dictionary, rows: Tensor
) -> CandidateReader:
    """Find the candidates of every position of every window."""
    live = LiveCandidates(dictionary, rows, scene.config().training.n_candidates)
    capturer, found = Capturer(teacher, scene.shape, None), {}
    for number in range(windows.n_windows):
        [window] = capturer.run(windows, np.array([number]))
        here = live.select([window], [np.flatnonzero(window.labels.numpy() >= -1)])
        found[number] = Candidates(here.positives.cpu(), here.negatives.cpu(), here.opposed)
    return _Kept(found)  # type: ignore[return-value]


def _measure_plain(scene: Scene, told: Told) -> None:
    """Time the peer."""
    sizes, config = scene.sizes, _endless(scene.config().training)
    teacher, student = scene.model().model, scene.model(scene.n_layers).model
    student.model.layers[-2:].float().requires_grad_(True)
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    windows = scene.text(sizes.batch_windows)
    length = sizes.window_tokens - 1
    rows = windows.token_ids.reshape(sizes.batch_windows, length)
    first = np.full((sizes.batch_windows, 1), windows.prefix[0])
    ids = torch.from_numpy(np.hstack([first, rows]).astype(np.int64)).to(scene.device)
    scene.forget_peak()

    def step() -> None:
        loss, ce, kl = losses(teacher, student.train(), ids, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, config.max_grad_norm or 1.0)
        optimizer.step()
        torch.stack([loss.detach(), ce.detach(), kl.detach()]).tolist()  # what a log reads

    seconds = [scene.seconds(step) for _ in range(_N_WARM + sizes.n_steps)][_N_WARM:]
    median = statistics.median(seconds)
    rate = sizes.batch_windows * sizes.window_tokens / median
    print(f"plain: {median * 1e3:.1f} ms a step, {rate:,.0f} tokens/s")
    told(step_seconds=median, tokens_per_second=rate, peak_bytes=scene.peak_bytes())
