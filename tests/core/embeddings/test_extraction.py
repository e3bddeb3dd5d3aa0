"""In what order a batch is run, filed and taken away, and how often it is waited for."""

import pytest

from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import Decoder, load_teacher
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.extraction import extract, training_batches
from dskd_core.progress import silent
from tests.miniature import Built, make
from tests.waits import counted_waits


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Built:
    return Built(make(tmp_path_factory.mktemp("extraction")))


def extracted(built: Built, key: str, n_batches: int, progress=silent):
    config = built.config.embeddings.model_copy(update={"key": key})
    windows = load_windows(built.corpus())
    census = take_census(windows, config)
    model = load_teacher(built.teacher(), built.config.teacher)
    batches = training_batches(census, config)[:n_batches]
    assert len(batches) == n_batches
    return extract(model, windows, census, batches, config, frozenset(), progress)


@pytest.mark.parametrize("n_batches", [1, 3])
@pytest.mark.parametrize("key", ["predicted", "next", "input"])
def test_a_batch_is_waited_for_once(built, key, n_batches):
    extracted(built, key, n_batches)
    with counted_waits() as waits:
        extracted(built, key, n_batches)
    assert +waits == {"numpy": n_batches}


def test_the_device_has_the_next_batch_before_one_is_filed(built, monkeypatch):
    happened, states = [], Decoder.states

    def run(self, token_ids, *lengths):
        happened.append("run")
        return states(self, token_ids, *lengths)

    monkeypatch.setattr(Decoder, "states", run)
    extracted(built, "predicted", 4, lambda *_, **__: happened.append("filed"))
    assert happened == ["run", "run", "filed", "run", "filed", "run", "filed", "filed"]
