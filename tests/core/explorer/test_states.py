"""What students were before training, and single states, against the whole student's own."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from dskd_core.corpus.store import load_windows
from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import ArtifactError, CapacityError
from dskd_core.explorer.states import Place, run_students, score_before_training
from dskd_core.progress import silent
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.candidates.readers import StoredCandidates
from dskd_core.training.student.shape import MODEL


@pytest.fixture(scope="module")
def scores(explored):
    found = {a.record.report["arm"]: a for a in explored.store.of_stage("scores")}
    return [found["kd"], found["paper"]]


@pytest.fixture(scope="module")
def places(scores):
    windows = scores[0].table("positions.parquet")["window"].to_numpy()
    return [Place(int(windows[0]), 2), Place(int(windows[-1]), 0)]


def test_states_are_those_of_the_whole_student_before_training_and_after(explored, scores, places):
    made = run_students(explored.store, scores, places, silent)
    students = [explored.store.get("student", one.record.inputs["student"]) for one in scores]
    windows = load_windows(explored.corpus())
    assert not windows.prefix
    for states, artifact in zip(made, [explored.untrained(), *students], strict=True):
        model = AutoModelForCausalLM.from_pretrained(artifact.folder() / MODEL).eval()
        for state, place in zip(states, places, strict=True):
            ids = torch.from_numpy(windows.window(place.window).astype(np.int64))[None]
            with torch.no_grad():
                whole = model.base_model(ids).last_hidden_state[0, place.scored]
            np.testing.assert_allclose(state, whole.numpy(), atol=1e-4)
    assert not np.allclose(made[0], made[1])


def test_a_student_is_scored_before_training_at_all_positions_that_it_was_scored_at_after(
    explored, scores
):
    told = []
    means = score_before_training(explored.store, scores[0], lambda *done, **_: told.append(done))
    model = AutoModelForCausalLM.from_pretrained(explored.untrained().folder() / MODEL).eval()
    inputs = scores[0].record.inputs
    activations = StoredActivations(
        explored.store.get("activations", inputs["activations"]), explored.store
    )
    candidates = StoredCandidates(explored.store.get("candidates", inputs["candidates"]), 1)
    rows = load_dictionary(explored.store.get("dictionary", inputs["dictionary"])).rows
    found = {"state_mse": [], "own_synonym_mse": [], "antonym_mse": []}
    for window in activations.read(activations.heldout):
        ids = load_windows(explored.corpus()).window(window.window).astype(np.int64)
        with torch.no_grad():
            states = model.base_model(torch.from_numpy(ids)[None]).last_hidden_state[0].numpy()
        scored = torch.nonzero(window.labels >= 0)[:, 0]
        kept = candidates.read(window, scored)
        for number, position in enumerate(scored.tolist()):
            state, taught = states[position], window.teacher_states[position].float().numpy()
            found["state_mse"].append(((state - taught) ** 2).mean())
            for name, near in zip(("own_synonym_mse", "antonym_mse"), kept, strict=True):
                real = [int(row) for row in near[number] if row >= 0]
                if real:
                    found[name].append(np.mean([((state - rows[r]) ** 2).mean() for r in real]))
    assert len(found["state_mse"]) == scores[0].record.counts["positions"]
    for name, values in found.items():
        assert means[name] == pytest.approx(np.mean(values), rel=1e-4)
        assert means[name] != pytest.approx(scores[0].record.report["means"][name], rel=1e-4)
    assert told[-1] == (len(activations.heldout), len(activations.heldout), "windows")


def test_what_runs_is_told_window_by_window(explored, scores, places):
    told = []
    run_students(explored.store, scores, places, lambda *done, **_: told.append(done))
    assert told == [(n, 6, "windows") for n in range(6)]


def test_a_window_or_memory_that_is_not_there_is_one_sentence(
    explored, scores, places, monkeypatch
):
    with pytest.raises(ArtifactError, match="no window 99999; score the students anew"):
        run_students(explored.store, scores, [Place(99_999, 0)], silent)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=1_000))
    with pytest.raises(CapacityError, match=r"0\.0 GB of memory are free"):
        run_students(explored.store, scores, places, silent)
