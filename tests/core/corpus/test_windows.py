from hashlib import blake2b

import numpy as np
import pytest

from dskd_core.corpus import windows

IDS = [f"page {i}" for i in range(2000)]


@pytest.mark.parametrize("room", [1, 3, 7, 100])
def test_windows_are_what_a_naive_loop_cuts(room):
    lengths = [5, 0, 7, 1, 20, 14]
    expected, base = [], 0
    for document, length in enumerate(lengths):
        for start in range(0, length, room):
            expected.append((base + start, min(start + room, length) - start, document, start))
        base += length
    cut = windows.cut(lengths, room)
    sizes = np.diff(cut.offsets)
    assert list(zip(cut.offsets[:-1], sizes, cut.documents, cut.starts, strict=True)) == expected
    assert cut.offsets[-1] == sum(lengths)
    assert (cut.offsets.dtype, cut.documents.dtype, cut.starts.dtype) == (
        np.int64,
        np.int32,
        np.int32,
    )


def test_no_documents_make_no_windows():
    cut = windows.cut([], 8)
    assert cut.offsets.tolist() == [0]
    assert len(cut.documents) == 0


def test_a_document_hash_is_plain_blake2b():
    expected = int.from_bytes(blake2b("Ÿ".encode(), digest_size=8).digest(), "little")
    assert windows.document_hash("Ÿ") == expected


def test_the_held_out_share_is_met_and_does_not_depend_on_the_order():
    chosen = windows.choose_heldout(IDS, 0.1, seed=3)
    assert 140 < chosen.sum() < 260
    assert (windows.choose_heldout(IDS[::-1], 0.1, seed=3) == chosen[::-1]).all()
    assert (windows.choose_heldout(IDS, 0.1, seed=4) != chosen).any()


def test_a_larger_share_holds_out_all_that_a_smaller_one_does():
    small, large = (windows.choose_heldout(IDS, share, seed=0) for share in (0.05, 0.3))
    assert (large | ~small).all()


def test_a_small_corpus_still_holds_one_document_out_and_keeps_one():
    for seed in range(20):
        assert windows.choose_heldout(["a", "b", "c"], 0.001, seed).sum() == 1
        assert 1 <= windows.choose_heldout(["a", "b"], 0.5, seed).sum() < 2


def test_nothing_is_held_out_of_one_document_or_at_share_zero():
    assert not windows.choose_heldout(["a", "a"], 0.5, 0).any()
    assert not windows.choose_heldout(IDS, 0.0, 0).any()


def test_order_and_split_are_independent_of_each_other():
    keys = np.array([windows.order_key(name, 0) for name in IDS], dtype=np.uint64)
    heldout = windows.choose_heldout(IDS, 0.5, 0)
    assert abs(heldout[np.argsort(keys)[:1000]].mean() - 0.5) < 0.06
