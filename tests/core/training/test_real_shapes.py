"""Llama-3-8B and Mistral-7B without a weight: meta tensors have shapes and dtypes, and no values.

Whoever asked them for a value would fail, so these tests say too that nothing waits for a device.
"""

import contextlib

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from dskd_core.config import SensesConfig, TrainingConfig
from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import Head
from dskd_core.dictionary.composition import compose
from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import Dictionary
from dskd_core.planning.architecture import PUBLISHED, count
from dskd_core.senses import torch_backend
from dskd_core.training.activations import layout
from dskd_core.training.activations.capture import Capturer
from dskd_core.training.candidates.readers import LiveCandidates
from dskd_core.training.loop.batch import make_batch
from dskd_core.training.loop.schedule import Step
from dskd_core.training.losses.objective import Objective
from dskd_core.training.losses.recipes import Recipe
from dskd_core.training.student import tail as tail_module
from dskd_core.training.student.shape import Shape
from dskd_core.training.student.tail import Tail

META = torch.device("meta")
MODELS = {
    "meta-llama/Meta-Llama-3-8B-Instruct": (LlamaConfig, LlamaForCausalLM),
    "mistralai/Mistral-7B-Instruct-v0.2": (MistralConfig, MistralForCausalLM),
}
LENGTHS = (512, 300)


class Text:
    """Two windows, of which one is padded."""

    prefix = (1,)
    lengths = np.array(LENGTHS)
    answers = None

    def window(self, number):
        return np.arange(LENGTHS[number], dtype=np.int32)

    def next_tokens(self, number):
        return np.append(np.arange(1, LENGTHS[number]), -1)


@pytest.fixture(scope="module", params=sorted(MODELS))
def sizes(request):
    return count(PUBLISHED[request.param], request.param)


@pytest.fixture(scope="module")
def teacher(sizes):
    config, model = MODELS[sizes.origin]
    with META:
        made = model(config(**PUBLISHED[sizes.origin])).to(torch.bfloat16)
    decoder = Decoder(made.eval().requires_grad_(False), sizes.n_vocabulary)
    vars(decoder)["output"] = Head(decoder.head)  # it is found by the values of logits
    return decoder


@pytest.fixture(scope="module")
def captured(teacher):
    capturer = Capturer(teacher, Shape(tuple(range(16)), 14), None)
    return capturer.run_with_targets(Text(), np.arange(2), temperature=2.0, compiled=False)


def n_bytes(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_the_teacher_takes_the_bytes_of_the_plan(sizes, teacher):
    assert n_bytes(teacher.model.parameters()) == 2 * sizes.parameters()


def test_what_is_captured_of_a_position_takes_the_bytes_of_the_plan(sizes, captured):
    d = sizes.hidden_size
    for window, length in zip(captured, LENGTHS, strict=True):
        n, targets = length + 1, window.targets
        assert window.entering.shape == window.teacher_states.shape == targets.expected.shape
        assert window.entering.shape == (n, d)
        assert window.entering.dtype == window.teacher_states.dtype == torch.bfloat16
        assert targets.expected.dtype == targets.entropy.dtype == torch.float32
        assert targets.predicted.shape == targets.entropy.shape == window.labels.shape == (n,)
        stored = {name: getattr(window, name) for name in layout._STATES}
        stored |= {name: getattr(targets, name) for name in layout._TARGETS}
        dtypes = layout._STATES | layout._TARGETS
        written = [value.to(dtypes[name] or torch.bfloat16) for name, value in stored.items()]
        assert n_bytes(written) == n * layout.position_bytes(d)


@pytest.mark.parametrize(("arm", "divergence"), [("paper", "forward_kl"), ("kd_mse", "jsd")])
def test_a_step_of_the_student_asks_for_no_value(
    sizes, teacher, captured, arm, divergence, monkeypatch
):
    d = sizes.hidden_size
    # autocast knows no meta device: the layers compute in their own float32 here.
    monkeypatch.setattr(tail_module.torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    config = TrainingConfig(compute_dtype="bfloat16", compile_head=False, divergence=divergence)
    student = Decoder(teacher.model, teacher.n_tokens)
    tail = Tail(student, sizes.n_layers - 2)
    moments = 16 * sum(p.numel() for p in tail.layers.parameters())
    assert moments == sizes.layer_parameters((30, 31)) * (4 + 4 + 8)
    senses = torch.empty(1000, d, dtype=torch.float16, device=META)
    objective = Objective(
        config, Recipe.from_config(config, arm, 1.0), tail, teacher.output, senses
    )
    step = Step(
        (0, 1),
        tuple((window.labels.numpy() >= 0).astype(np.float64) for window in captured),
        (np.arange(1, 200), np.arange(1, 50)),
    )
    candidates = LiveCandidates(related(sizes.n_vocabulary), senses, 5).select(
        captured, step.chosen
    )
    assert candidates.positives.shape == candidates.negatives.shape == (248, 5)
    assert candidates.positives.device == candidates.negatives.device == META
    batch = make_batch(captured, step, candidates, META)
    loss, terms = objective.loss(batch, total_weight=step.total_weight, n_chosen=step.n_chosen)
    loss.backward()
    assert {term.shape for term in terms.values()} == {()}
    assert {term.device for term in terms.values()} == {META}
    assert all(p.grad.dtype == torch.float32 for p in tail.layers.parameters())
    assert batch.real.shape == batch.labels.shape == (sum(LENGTHS) + 2,)
    assert batch.scored.shape == (sum(LENGTHS) - 2,)


def related(n_tokens: int) -> Dictionary:
    """Ten senses of its own for every token, three of synonyms, an antonym's for every other."""
    rng = np.random.default_rng(0)

    def lists(counts) -> Csr:
        offsets = np.concatenate(([0], np.cumsum(counts)))
        return Csr(offsets, rng.integers(0, 1000, int(offsets[-1])))

    counts = np.full(n_tokens, 10), np.full(n_tokens, 3), np.arange(n_tokens) % 2
    return Dictionary(np.empty((0, 0), np.float16), *map(lists, counts), "fingerprint")


def test_the_batches_of_k_means_keep_their_bytes(sizes):
    d, config, budget = sizes.hidden_size, SensesConfig(), 8 << 30
    n, k, r = 2000, config.n_senses, config.n_restarts
    row_bytes = torch_backend._row_bytes(d, k, r)
    extra = torch_backend._CENTROID_BYTES * r * k * d // row_bytes
    sized = torch_backend.batches([n] * 100, max_rows=budget // row_bytes, extra_rows=extra)
    b, padded = len(next(sized)), torch_backend.padded_length(n)
    assert b > 10
    X = torch.empty(b, padded, d, device=META)
    coarse, norms = X.bfloat16(), X.square().sum(-1)
    mask = torch.ones(b, padded, dtype=torch.bool, device=META)
    draws = torch.empty(b, r, k, 2 + int(np.log(k)), device=META)
    few, few_norms, few_mask = torch_backend._sample(
        coarse, norms, mask, torch.empty(b, dtype=torch.int64, device=META)
    )
    starts = torch_backend.plus_plus(few, few_norms, few_mask, draws)
    assert (starts.shape, starts.dtype) == ((b, r, k), torch.int64)
    C = torch_backend.take(few, starts).float().view(b, r, k, d)
    labels, gains = torch_backend.nearest(few, C)
    assert labels.shape == gains.shape == (b, r, few.shape[1])
    assert gains.dtype == torch.float32
    assert n_bytes([X, coarse, C, labels, gains]) <= budget


def test_words_are_composed_in_single_precision_of_any_width(sizes):
    d = sizes.hidden_size
    centroids = np.ones((30, d), dtype=np.float16)
    found = compose(centroids, np.array([0, 10, 20, 30]), np.array([[0, 1, 2], [2, 1, 0]]))
    assert (found.shape, found.dtype) == ((2, 10, d), np.float32)
