"""The teacher's states, what is filed of them, and what it leaves for training."""

import numpy as np
import pytest
import torch

from dskd_core.config import EmbeddingsConfig, TeacherConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.batches import padded
from dskd_core.decoder.decoder import load_teacher
from dskd_core.dictionary.store import load_dictionary
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.extraction import extract, training_batches
from dskd_core.progress import silent
from dskd_core.training.activations.capture import Capturer
from dskd_core.training.candidates.nearest import nearest_on_device, nearest_rows

CLOSE = {"atol": 1e-4, "rtol": 1e-4}


def teacher_on(miniature, device, dtype="float32"):
    source = miniature.config.teacher.source
    config = TeacherConfig(source=source, device=device, dtype=dtype)
    return load_teacher(miniature.teacher(), config)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("bfloat16", 0.1)])
def test_states_of_padded_windows_are_those_of_a_cpu(miniature, device, dtype, tolerance):
    windows = load_windows(miniature.corpus())
    rows = [windows.window(number)[: 12 - 3 * number] for number in range(3)]
    ids = padded(rows, windows.prefix)
    here = teacher_on(miniature, "cpu").states(ids)
    model = teacher_on(miniature, device, dtype)
    there = model.states(ids.to(device)).float().cpu()
    for line, row in enumerate(rows):
        n = len(windows.prefix) + len(row)
        torch.testing.assert_close(here[line, :n], there[line, :n], atol=tolerance, rtol=tolerance)


def test_extraction_files_the_same_states_under_the_same_tokens(miniature, device):
    windows = load_windows(miniature.corpus())
    config = EmbeddingsConfig(key="predicted", max_occurrences=20, batch_tokens=128)
    census = take_census(windows, config)
    batches = training_batches(census, config)[:3]
    (here, filed, met), (there, also_filed, also_met) = (
        extract(teacher_on(miniature, d), windows, census, batches, config, frozenset(), silent)
        for d in ("cpu", device)
    )
    assert there.device.type == "cpu"
    torch.testing.assert_close(here, there, **CLOSE)
    np.testing.assert_array_equal(filed.tokens, also_filed.tokens)
    np.testing.assert_array_equal(filed.positions, also_filed.positions)
    np.testing.assert_array_equal(met, also_met)


def test_a_window_leaves_the_same_for_training(miniature, device):
    windows = load_windows(miniature.corpus())
    left = []
    for place in ("cpu", device):
        config = miniature.config.teacher.model_copy(update={"device": place})
        capturer = Capturer.load(miniature.teacher(), miniature.untrained(), config)
        left.append(
            capturer.run_with_targets(windows, np.arange(3), temperature=2.0, compiled=False)
        )
    for here, there in zip(*left, strict=True):
        for name in ("entering", "teacher_states"):
            torch.testing.assert_close(getattr(here, name), getattr(there, name).cpu(), **CLOSE)
        for name in ("expected", "entropy", "predicted"):
            torch.testing.assert_close(
                getattr(here.targets, name), getattr(there.targets, name).cpu(), **CLOSE
            )


def test_candidates_are_those_that_numpy_finds(miniature, device):
    dictionary = load_dictionary(miniature.dictionary())
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, dictionary.n_tokens, 200)
    states = rng.normal(size=(200, dictionary.rows.shape[1])).astype(np.float32)
    wanted = nearest_rows(states, labels, dictionary, n_candidates=2)
    found = nearest_on_device(
        torch.from_numpy(states).to(device),
        labels,
        dictionary,
        torch.from_numpy(dictionary.rows).to(device),
        n_candidates=2,
    )
    assert found.positives.device.type == torch.device(device).type
    np.testing.assert_array_equal(wanted.positives, found.positives.cpu().numpy())
    np.testing.assert_array_equal(wanted.negatives, found.negatives.cpu().numpy())
    assert len(found.opposed) > 0
