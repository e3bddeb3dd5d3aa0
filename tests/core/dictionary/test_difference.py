import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from dskd_core.dictionary.difference import compare, match_senses
from dskd_core.errors import ArtifactError
from dskd_core.store.artifacts import ArtifactStore
from tests.miniature import PAIRS, Built, make


def _changes(found) -> dict[str, int]:
    return {change.kind: change.n for change in found.changes}


def test_a_dictionary_does_not_differ_from_itself(nexted):
    uri = nexted.dictionary().uri
    found = compare(uri, uri)
    assert not any(_changes(found).values())
    assert found.settings == found.notes == found.most_moved == []


def test_senses_that_stayed_where_they_were_are_not_matched(nexted, monkeypatch):
    monkeypatch.setattr("dskd_core.dictionary.difference.match_senses", None)
    dictionary = nexted.dictionary()
    found = compare(dictionary.uri, dictionary.uri)
    assert found.moved["senses matched"] == int(
        dictionary.group("dictionary.zarr")["own_offsets"][-1]
    )
    assert found.most_moved == []


def test_senses_are_matched_before_they_are_measured():
    before = np.random.default_rng(0).normal(size=(4, 6))
    after = before[[2, 0, 3, 1]] + 0.5
    rows, columns, mses = match_senses(before, after)
    assert list(zip(rows, columns, strict=True)) == [(0, 1), (1, 3), (2, 0), (3, 2)]
    np.testing.assert_allclose(mses, 0.25)


def test_a_token_whose_senses_moved_is_named_with_how_far(nexted, tmp_path):
    before = nexted.dictionary()
    shutil.copytree(nexted.store.root_uri, tmp_path / "moved")
    uri = before.uri.replace(nexted.store.root_uri, str(tmp_path / "moved"))
    group = zarr.open_group(Path(uri) / "dictionary.zarr", mode="r+")
    own = group["own_offsets"][:]
    token = int(np.flatnonzero(np.diff(own) == 3)[0])
    rows = slice(int(own[token]), int(own[token + 1]))
    group["rows"][rows] = group["rows"][rows][::-1] + np.float16(2.0)  # another order, and moved
    found = compare(before.uri, uri)
    [moved] = found.most_moved
    assert moved["mean MSE"] == pytest.approx(4.0, rel=0.01)
    assert moved["senses"] == 3
    assert _changes(found)["senses moved"] == 3
    [table] = [change.table for change in found.changes if change.kind == "senses moved"]
    pairs = set(zip(table["row_before"].to_pylist(), table["row_after"].to_pylist(), strict=True))
    assert pairs == {
        (rows.start, rows.start + 2),
        (rows.start + 1,) * 2,
        (rows.stop - 1, rows.start),
    }
    assert table["mse"].to_pylist() == sorted(table["mse"].to_pylist(), reverse=True)
    assert table["mse"].to_pylist() == pytest.approx([4.0] * 3, rel=0.01)


def test_pairs_and_words_that_changed_are_counted_and_shown(nexted, tmp_path):
    config = make(tmp_path, embeddings={"key": "next"})
    pairs = [p for p in PAIRS if p[0] != "small"]
    pairs = [("light", "dark", "synonym") if p[:2] == ("light", "dark") else p for p in pairs]
    lines = [
        "word_a,word_b,relation",
        *(",".join(p) for p in [*pairs, ("river", "bank", "synonym")]),
    ]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n", "utf-8")
    found = compare(nexted.dictionary().uri, Built(config).dictionary().uri)
    changes = {change.kind: change for change in found.changes}
    assert changes["pairs added"].examples == ["bank|river (synonym)"]
    assert changes["pairs removed"].examples == ["large|small (antonym)"]
    assert changes["pairs relabelled"].examples == ["dark|light (antonym -> synonym)"]
    added = changes["words with senses added"]
    assert set(added.examples) == {"bank", "river"}
    assert {row["before"] for row in added.table.to_pylist()} == {0}
    assert all(row["tokens"] >= 1 and row["after"] == 3 for row in added.table.to_pylist())
    [relabelled] = changes["pairs relabelled"].table.to_pylist()
    assert (relabelled["before"], relabelled["after"]) == ("antonym", "synonym")
    assert any(line.startswith("input words: ") for line in found.settings)
    json.dumps(found.as_json())


def test_tokens_that_came_and_went_are_named(nexted, tmp_path):
    before = nexted.dictionary()
    shutil.copytree(nexted.store.root_uri, tmp_path / "fewer")
    uri = before.uri.replace(nexted.store.root_uri, str(tmp_path / "fewer"))
    group = zarr.open_group(Path(uri) / "dictionary.zarr", mode="r+")
    own = group["own_offsets"][:]
    token = int(np.flatnonzero(np.diff(own))[-1])
    n_senses = int(own[token + 1] - own[token])
    own[token + 1 :] = own[token]
    group["own_offsets"][...] = own
    assert _changes(compare(before.uri, uri))["tokens removed"] == 1
    found = {change.kind: change for change in compare(uri, before.uri).changes}
    assert len(found["tokens added"].examples) == 1
    [row] = found["tokens added"].table.to_pylist()
    assert (row["token_id"], row["before"], row["after"]) == (token, 0, n_senses)


def test_another_stage_is_refused_by_name(nexted):
    with pytest.raises(ArtifactError, match="is of the stage senses"):
        compare(nexted.senses().uri, nexted.dictionary().uri)


def test_pairs_that_cannot_be_compared_are_said(nexted, tmp_path):
    before = nexted.dictionary()
    target = tmp_path / "alone/dictionary" / before.fingerprint
    shutil.copytree(before.uri, target)
    assert ArtifactStore.open(str(target)).fingerprint == before.fingerprint
    found = compare(before.uri, str(target))
    assert any("Pairs were not compared" in note for note in found.notes)
