"""A device that runs out of memory, as torch says it, and every stage that fills one."""

import shutil

import numpy as np
import pytest
import torch

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.fitting import in_batches_that_fit, until_it_fits
from dskd_core.embeddings.layout import SHARD
from dskd_core.embeddings.store import extract_shard, plan_shards
from dskd_core.errors import CapacityError
from dskd_core.senses import torch_backend
from dskd_core.senses.store import cluster_range, plan_ranges
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.training.activations.store import capture_shard, capture_shards
from dskd_core.training.losses.objective import Objective
from tests.miniature import Built, make

WINDOW_TOKENS = 16
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has ...")


@pytest.fixture
def room(monkeypatch):
    """Give a function that limits how many tokens a forward of the teacher has memory for."""
    states = Decoder.states

    def limit(n_tokens: int) -> None:
        def limited(teacher, token_ids, *lengths):
            if token_ids.numel() > n_tokens:
                raise FULL
            return states(teacher, token_ids, *lengths)

        monkeypatch.setattr(Decoder, "states", limited)

    return limit


@pytest.fixture
def elsewhere(tmp_path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "elsewhere"))


def extracted(miniature, store):
    config, corpus = miniature.config, miniature.corpus()
    shard = plan_shards(corpus, config.embeddings)[0]
    return extract_shard(
        store, config.embeddings, config.teacher, miniature.teacher(), corpus, shard
    )


def captured(miniature, store):
    config, corpus, mode = miniature.config, miniature.corpus(), miniature.mode()
    teacher, untrained = miniature.teacher(), miniature.untrained()
    shard = capture_shards(corpus, config.training, mode)[0]
    return capture_shard(
        store, config.training, config.teacher, teacher, untrained, corpus, mode, shard
    )


def fitted(work, size=4, *, smallest=1, setting="rows", cure="k"):
    return until_it_fits(work, size, smallest=smallest, name="rows", setting=setting, cure=cure)


def test_a_size_is_halved_until_it_fits_and_the_halvings_are_counted():
    tried = []

    def work(size):
        tried.append(size)
        if size > 300:
            raise FULL
        return "done"

    assert fitted(work, 2048, smallest=100) == ("done", {"rows": 256, "n_halved": 3})
    assert tried == [2048, 1024, 512, 256]


@pytest.mark.parametrize(
    "why",
    [
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
    ],
)
def test_memory_that_a_library_asked_for_counts_too(why):
    sizes = []

    def work(size):
        sizes.append(size)
        if size > 2:
            raise RuntimeError(why)

    fitted(work)
    assert sizes == [4, 2]


def test_what_does_not_fit_at_its_smallest_is_refused_with_its_setting_and_a_cure():
    def work(size):
        raise FULL

    expected = r"of embeddings\.batch_tokens 100 \(CUDA out of memory\); lower max_span, or use"
    with pytest.raises(CapacityError, match=expected):
        fitted(work, 150, smallest=100, setting="embeddings.batch_tokens", cure="max_span")


def test_other_errors_are_not_tried_again():
    def work(size):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal"):
        fitted(work)


def test_batches_that_fit_stay_whole_and_the_windows_keep_their_order():
    lengths = np.array([8, 8, 4, 4, 2, 2])
    batches, seen = [np.array([0, 1]), np.array([2, 3]), np.array([4, 5])], []

    def work(fine):
        seen.append([batch.tolist() for batch in fine])
        if len(seen) == 1:
            raise FULL

    _, fit = in_batches_that_fit(work, batches, lengths, setting="tokens", cure="k")
    assert seen == [[[0, 1], [2, 3], [4, 5]], [[0], [1], [2, 3], [4, 5]]]
    assert fit == {"batch_tokens": 8, "n_halved": 1}


def test_an_extraction_without_memory_keeps_the_same_occurrences(miniature, elsewhere, room):
    calm = extracted(miniature, miniature.store)
    assert calm.record.report == {"batch_tokens": 128}
    room(40)
    tight = extracted(miniature, elsewhere)
    assert tight.record.report == {"batch_tokens": 32, "n_halved": 2}
    assert tight.fingerprint == calm.fingerprint, "the size is no part of what is asked for"
    for name in ("tokens", "offsets", "documents", "positions", "hashes"):
        one, other = (get_array(a.group(SHARD), name) for a in (calm, tight))
        np.testing.assert_array_equal(one, other)
    one, other = (get_array(a.group(SHARD), "states") for a in (calm, tight))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_extraction_for_which_one_window_is_too_much_is_refused(miniature, elsewhere, room):
    room(WINDOW_TOKENS - 1)
    with pytest.raises(CapacityError, match=r"embeddings\.batch_tokens 16 .*corpus\.window_tokens"):
        extracted(miniature, elsewhere)
    assert elsewhere.of_stage("embeddings-shard") == []


def test_a_capture_without_memory_keeps_the_same_positions(miniature, elsewhere, room):
    calm = captured(miniature, miniature.store)
    room(100)
    tight = captured(miniature, elsewhere)
    n_tokens, n_halved = calm.record.report["batch_tokens"], tight.record.report["n_halved"]
    assert tight.record.report["batch_tokens"] == n_tokens // 2**n_halved <= 100
    for name in ("windows", "labels", "offsets", "predicted"):
        one, other = (get_array(a.group(SHARD), name) for a in (calm, tight))
        np.testing.assert_array_equal(one, other)


def test_a_clustering_without_memory_finds_the_same_senses(miniature, elsewhere, monkeypatch):
    embeddings, config = miniature.embeddings(), miniature.config.senses
    shard = plan_ranges(embeddings, miniature.store, config)[0]

    for part in embeddings.record.report["parts"]:
        place = miniature.store.get("embeddings-shard", part).uri
        shutil.copytree(place, f"{elsewhere.root_uri}/embeddings-shard/{part}")

    def clustered(store):
        return cluster_range(store, config, embeddings, miniature.corpus(), shard)

    calm, whole, n_calls = clustered(miniature.store), torch_backend._cluster_batch, 0

    def twice_refused(*args):
        nonlocal n_calls
        n_calls += 1
        if n_calls <= 2:
            raise FULL
        return whole(*args)

    monkeypatch.setattr(torch_backend, "_cluster_batch", twice_refused)
    tight = clustered(elsewhere)
    assert tight.record.report["batch_bytes"] == config.batch_bytes // 4
    assert tight.record.content == calm.record.content


def test_a_step_without_memory_is_refused_by_its_number_and_its_checkpoint_stays(
    tmp_path, monkeypatch
):
    built, loss, n_losses = Built(make(tmp_path)), Objective.loss, 0
    built.inputs("kd")

    def full_in_the_sixth(*args, **kwargs):
        nonlocal n_losses
        n_losses += 1
        if n_losses == 6:
            raise FULL
        return loss(*args, **kwargs)

    monkeypatch.setattr(Objective, "loss", full_in_the_sixth)
    with pytest.raises(CapacityError, match=r"step 6 of \d+ .*raise training\.n_accumulated") as no:
        built.student("kd")
    assert "Tried to allocate" not in str(no.value)
    assert [a.record.config["step"] for a in built.store.of_stage("checkpoint")] == [4]
    monkeypatch.setattr(Objective, "loss", loss)
    steps = []
    built.student("kd", progress=lambda n, *_, **__: steps.append(n))
    assert steps[0] == 5
