"""Guards, validation, the best weights and several ranks, on the miniature."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from dskd_core.config import TrainingConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import load_teacher
from dskd_core.errors import DataError
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.loop.schedule import Step
from dskd_core.training.loop.step import Run
from dskd_core.training.loop.terms import check_terms
from tests.miniature import Built, make

STEP = Step((7, 9), (np.ones(2), np.ones(2)), (np.empty(0, dtype=np.int64),) * 2)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    built = Built(make(tmp_path_factory.mktemp("run"), embeddings={"key": "next"}))
    built.inputs()
    return built


def changed(built: Built, **settings) -> Built:
    training = TrainingConfig.model_validate(built.config.training.model_dump() | settings)
    return Built(built.config.model_copy(update={"training": training}))


def run_of(built: Built, arm: str = "dskd", seed: int = 0) -> Run:
    config = built.config
    return Run.prepare(built.store, config.training, config.teacher, built.inputs(arm), arm, seed)


def rows(losses: list[float]) -> list[dict[str, float]]:
    return [{"loss": loss} for loss in losses]


def test_a_loss_ten_times_the_recent_median_stops_the_run_and_tells_where():
    history, config = rows([900.0] * 9 + [2.0] * 25 + [4.0] * 25), TrainingConfig()
    check_terms(59, STEP, {"loss": 29.9, "ce": 1.0}, history, config)
    with pytest.raises(DataError) as refused:
        check_terms(59, STEP, {"loss": 30.1, "ce": 1.0}, history, config)
    message = str(refused.value)
    for part in ("Step 59", "[7, 9]", "'ce': 1.0", "last 50 steps, 3;", "learning_rate", "kept"):
        assert part in message


def test_the_first_step_is_compared_with_nothing():
    check_terms(0, STEP, {"loss": 1e9}, [], TrainingConfig())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_term_that_is_no_number_stops_the_run(value):
    with pytest.raises(DataError, match=r"Step 3 .*\[7, 9\]; lower training.learning_rate"):
        check_terms(3, STEP, {"loss": 1.0, "kl": value}, rows([1.0]), TrainingConfig())


def test_an_exploding_run_keeps_its_last_checkpoint(built):
    wild = changed(built, learning_rate=1.0, max_loss_growth=1.01, checkpoint_steps=1)
    with pytest.raises(DataError, match="max_loss_growth"):
        wild.student()
    (kept,) = wild.store.of_stage("checkpoint")
    state = load_file(kept.folder() / "state.safetensors")
    assert all(value.isfinite().all() for value in state.values())
    wild.store.discard(kept)


def test_validation_is_the_mean_over_the_validation_documents(built):
    run = run_of(changed(built, validation_steps=2, validation_share=0.5))
    windows, members = load_windows(built.corpus()), run.activations.validation
    assert len(members) > 1
    teacher, head = load_teacher(built.teacher(), built.config.teacher), run.student.head.double()
    temperature, ces, kls = 2.0, [], []
    for window in members:
        ids = torch.tensor(windows.window(window).tolist())[None]
        with torch.no_grad():
            out = teacher.model(ids, output_hidden_states=True)
            n = run.tail(out.hidden_states[run.entry])[0].double()
        labels = torch.from_numpy(run.activations.labels(window))
        z, taught = n @ head.T, out.hidden_states[-1][0].double() @ head.T
        ces.append(functional.cross_entropy(z, labels, reduction="none", ignore_index=-1))
        p = (taught / temperature).softmax(1)
        kl = (p * (p.log() - (z / temperature).log_softmax(1))).sum(1)
        kls.append(kl[labels >= 0])
    scored = torch.cat(kls)
    found = run.validation.score(run.objective)
    assert found["ce"] == pytest.approx(float(torch.cat(ces).sum() / len(scored)), rel=1e-4)
    assert found["kl"] == pytest.approx(float(scored.mean()), rel=5e-3)  # e_t: float16


def test_validation_documents_are_neither_trained_on_nor_scored_on(built):
    source = StoredActivations(built.activations(), built.store, validation_share=0.5)
    documents = [
        {source.document(window) for window in windows}
        for windows in (source.training, source.validation, source.heldout)
    ]
    assert all(documents)
    assert sum(map(len, documents)) == len(set.union(*documents))


def test_validation_happens_every_so_many_steps_and_at_the_end_and_changes_no_step(built):
    plain, seen = built.student(), changed(built, validation_steps=3).student()
    history = seen.table("history.parquet").to_pylist()
    scored = [int(row["step"]) + 1 for row in history if row["validation_ce"] is not None]
    assert scored == [*range(3, len(history), 3), len(history)]
    expected = [row["loss"] for row in plain.table("history.parquet").to_pylist()]
    assert [row["loss"] for row in history] == expected


def test_the_best_weights_are_those_of_the_lowest_validation_ce(built):
    wild = changed(built, n_epochs=6.0, validation_steps=5, keep="best")
    student = wild.student()
    history = student.table("history.parquet").to_pylist()
    ces = [row["validation_ce"] or math.inf for row in history]
    best = ces.index(min(ces)) + 1
    assert best < len(history), "twenty documents are soon learnt by heart"
    assert student.record.report["kept_step"] == best
    run = run_of(wild)
    for number in range(best):
        run.step(number)
    exported = load_file(student.folder() / "model" / "model.safetensors")
    for name, value in run.tail.layers.state_dict().items():
        layer, rest = name.split(".", 1)
        assert torch.equal(exported[f"model.layers.{int(layer) + run.entry}.{rest}"], value), name


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one_within_rounding(built):
    alone = changed(built, validation_steps=4, n_accumulated=2).student()
    shared = changed(built, validation_steps=4, n_accumulated=2, n_ranks=2).student()
    assert alone.fingerprint != shared.fingerprint
    expected, found = (a.table("history.parquet").to_pylist() for a in (alone, shared))
    assert len(expected) == len(found) > 4
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "ce", "kl", "positive", "negative", "kd_gradient", "grad_norm"):
            assert other[name] == pytest.approx(one[name], rel=3e-6), name
