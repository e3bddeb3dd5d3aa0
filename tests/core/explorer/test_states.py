"""The states of students at single positions, against transformers running the whole student."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from dskd_core.corpus.store import load_windows
from dskd_core.errors import ArtifactError, CapacityError
from dskd_core.explorer.states import Place, run_students
from dskd_core.progress import silent
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
