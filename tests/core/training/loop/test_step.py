"""Guards, validation, the best weights and several ranks, on the miniature."""

import math
import re
import threading
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from dskd_core import interruption
from dskd_core.config import TrainingConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import load_teacher
from dskd_core.errors import DataError
from dskd_core.interruption import Interrupted
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.loop.loop import _check_all_resume
from dskd_core.training.loop.schedule import Step
from dskd_core.training.loop.step import Run
from dskd_core.training.loop.terms import check_terms
from dskd_core.training.ranks.ranks import LostRankError, Ranks
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


def run_of(built: Built, arm: str = "paper", seed: int = 0) -> Run:
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
            n = run.tail(out.hidden_states[run.shape.entry])[0].double()
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
        {source.document_hash(window) for window in windows}
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
        assert torch.equal(
            exported[f"model.layers.{int(layer) + run.shape.entry}.{rest}"], value
        ), name


@pytest.mark.slow
def test_two_ranks_take_the_steps_of_one_within_rounding(built):
    alone = changed(built, validation_steps=4, n_accumulated=2).student()
    shared = changed(built, validation_steps=4, n_accumulated=2, n_ranks=2).student()
    assert alone.fingerprint != shared.fingerprint
    expected, found = (a.table("history.parquet").to_pylist() for a in (alone, shared))
    assert len(expected) == len(found) > 4
    for one, other in zip(expected, found, strict=True):
        assert one.keys() == other.keys()
        for name in (
            *("loss", "ce", "kl", "positive", "negative"),
            *("active_share", "kd_gradient", "grad_norm"),
        ):
            assert other[name] == pytest.approx(one[name], rel=3e-6), name


def spoiled(run: Run, at: int) -> Run:
    """Let the loss of a step be no number."""
    loss = run.objective.loss

    def spoil(batch, **totals):
        value, terms = loss(batch, **totals)
        terms["ce"] = terms["ce"] + (math.nan if spoil.number == at else 0.0)
        spoil.number += 1
        return value, terms

    spoil.number = 0
    run.objective = SimpleNamespace(**vars(run.objective), loss=spoil, other_temperature=None)
    return run


@dataclass(frozen=True)
class Severed(Ranks):
    """The first of two ranks, whose exchanges were given up: it has its own numbers alone."""

    def gather(self, values):
        return torch.stack([values, torch.zeros_like(values)])

    def add_gradients(self, parameters):
        pass


def test_numbers_of_a_rank_that_never_came_are_not_taken_for_zeros(built):
    run = run_of(built)
    run.ranks = Severed(0, 2)
    before = {name: value.clone() for name, value in run.tail.weights().items()}
    with pytest.raises(LostRankError, match=r"^Rank 0 of 2 lost another one .*checkpoint is kept"):
        run.step(0)
    with pytest.raises(LostRankError, match=r"^Rank 0 of 2 lost another one before its first step"):
        _check_all_resume(run.ranks, 20)
    assert all(torch.equal(value, before[name]) for name, value in run.tail.weights().items())


def test_terms_read_every_few_steps_are_those_read_at_once_and_so_is_the_student(built):
    plain, told = built.student(), []
    files = plain.record.files
    built.store.discard(plain)
    again = changed(built, log_steps=3).student(
        progress=lambda n, *_, **row: told.append((n, row["loss"]))
    )
    assert again.record.files == files
    history = again.table("history.parquet").to_pylist()
    assert told == [(int(row["step"]) + 1, row["loss"]) for row in history]


def test_a_bad_step_among_several_unread_ones_is_the_one_that_is_named(built):
    run = spoiled(run_of(built), at=1)
    assert run.advance(0, reads=False) == run.advance(1, reads=False) == []
    windows = list(run.schedule.step(1).windows)
    with pytest.raises(DataError, match=rf"Step 1 gave .*{re.escape(str(windows))}; lower"):
        run.advance(2)


@pytest.mark.parametrize(("at", "kept"), [(1, []), (5, [4])])
def test_no_checkpoint_holds_a_step_that_was_not_checked(built, at, kept, monkeypatch):
    prepare = Run.prepare
    monkeypatch.setattr(Run, "prepare", lambda *settings: spoiled(prepare(*settings), at))
    # Read after steps 4 and 7: before the checkpoint, and every seven.
    rare = changed(built, log_steps=7, checkpoint_steps=4, learning_rate=2e-2)
    with pytest.raises(DataError, match=f"Step {at} gave"):
        rare.student()
    checkpoints = rare.store.of_stage("checkpoint")
    assert [checkpoint.record.config["step"] for checkpoint in checkpoints] == kept
    for checkpoint in checkpoints:
        rare.store.discard(checkpoint)


def test_a_run_that_is_asked_to_stop_reads_what_it_did_and_keeps_it(built):
    rare = changed(built, log_steps=100, checkpoint_steps=100, learning_rate=3e-2)
    undisturbed = rare.student().record
    rare.store.discard(rare.student())

    def stop_soon(run):
        advance = run.advance

        def advance_and_ask(number, history, *, reads):
            rows = advance(number, history, reads=reads)
            if number == 1:
                interruption.request()
            return rows

        run.advance = advance_and_ask
        return run

    prepare, told = Run.prepare, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "prepare", lambda *settings: stop_soon(prepare(*settings)))
        with pytest.raises(Interrupted, match="after step 3 of"):
            rare.student()
    interruption.clear()
    (kept,) = rare.store.of_stage("checkpoint")
    assert kept.record.config["step"] == 3
    assert (
        rare.student(progress=lambda n, *_, **__: told.append(n)).record.files == undisturbed.files
    )
    assert told[0] == 4


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "dskd-ahead" in thread.name]


def test_a_batch_is_being_read_before_the_one_before_it_is_computed_with(built):
    settings = {"n_accumulated": 2, "n_epochs": 2.0, "learning_rate": 4e-2}
    plain, run = (run_of(changed(built, **settings)) for _ in range(2))
    expected = [plain.step(number) for number in range(plain.n_steps)]
    n_batches, n_used, slow = 2 * run.n_steps, 0, threading.Semaphore(0)
    read, loss = run.activations.read, run.objective.loss

    def read_slowly(windows):
        assert threading.current_thread() in readers()
        slow.release()
        time.sleep(0.01)
        return read(windows)

    def compute(batch, **totals):
        nonlocal n_used
        n_used += 1
        # The first computation waits for two reads to have begun, each other one for one more.
        for _ in range(2 if n_used == 1 else 1):
            assert n_used == n_batches or slow.acquire(timeout=30), "nothing is read meanwhile"
        return loss(batch, **totals)

    run.activations.read = read_slowly
    run.objective = SimpleNamespace(**vars(run.objective), loss=compute, other_temperature=None)
    with run.reading_ahead(0):
        assert [run.step(number) for number in range(run.n_steps)] == expected
    assert n_used == n_batches
    assert readers() == []


def test_an_error_of_the_store_is_raised_in_the_step_that_needs_it(built):
    run = run_of(built)
    read, n_read = run.activations.read, 0

    def read_twice(windows):
        nonlocal n_read
        n_read += 1
        if n_read > 2:
            raise OSError("the disk is gone")
        return read(windows)

    run.activations.read = read_twice
    with run.reading_ahead(0):
        run.step(0)
        run.step(1)
        with pytest.raises(OSError, match="gone"):
            run.step(2)
    assert readers() == []


def test_a_run_that_ends_early_leaves_no_thread_and_the_teacher_runs_in_none(built):
    run = run_of(built)

    def end_early():
        with run.reading_ahead(0):
            run.step(0)
            assert readers()
            raise KeyError

    with pytest.raises(KeyError):
        end_early()
    assert readers() == []
    online = run_of(changed(built, mode="online"))
    with online.reading_ahead(0):
        online.step(0)
        assert readers() == []
