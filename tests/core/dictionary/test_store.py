from dataclasses import replace
from pathlib import Path
from shutil import copytree, rmtree

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
import zarr

from dskd_core.config import DictionaryConfig
from dskd_core.dictionary.composition import compose
from dskd_core.dictionary.store import build_dictionary, load_dictionary
from dskd_core.errors import ArtifactError
from dskd_core.senses.inventory import load_senses
from dskd_core.store.artifacts import Artifact, ArtifactStore


def _words(artifact: Artifact) -> dict[str, dict]:
    return {row["word"]: row for row in artifact.table("words.parquet").to_pylist()}


def test_a_word_of_one_token_has_that_token_s_senses(nexted):
    dictionary, inventory = nexted.dictionary(), load_senses(nexted.senses())
    rows = load_dictionary(dictionary).rows
    word = _words(dictionary)["happy"]
    assert word["n_tokens"] == 1
    np.testing.assert_array_equal(
        rows[word["row_start"] : word["row_stop"]], inventory.senses_of(word["token_ids"][0])
    )


def test_a_word_of_several_tokens_has_composed_senses(tmp_path_factory):
    from tests.miniature import PAIRS, Built, make

    folder = tmp_path_factory.mktemp("composed")
    config = make(folder, embeddings={"key": "next"})
    lines = [
        "word_a,word_b,relation",
        *(",".join(p) for p in [*PAIRS, ("light", "stone money", "synonym")]),
    ]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", "utf-8")
    built = Built(config)
    dictionary, inventory = built.dictionary(), load_senses(built.senses())
    word = _words(dictionary)["stone money"]
    assert word["n_tokens"] == 2
    slots = np.searchsorted(inventory.tokens, word["token_ids"])
    expected = compose(inventory.centroids.astype(np.float32), inventory.offsets, slots[None])[0]
    rows = load_dictionary(dictionary).rows[word["row_start"] : word["row_stop"]]
    np.testing.assert_allclose(rows, expected[: len(rows)], atol=2e-3)  # float16


def test_a_sense_that_float16_cannot_hold_stays_the_number_it_is(nexted, tmp_path, monkeypatch):
    inventory = load_senses(nexted.senses())
    large = replace(inventory, centroids=inventory.centroids.astype(np.float32) * 1e5)
    monkeypatch.setattr("dskd_core.dictionary.store.load_senses", lambda _: large)
    store = ArtifactStore(str(copytree(nexted.config.root_uri, tmp_path / "copy")))
    rmtree(tmp_path / "copy/dictionary")
    made = build_dictionary(
        store, nexted.config.dictionary, nexted.senses(), nexted.words(), nexted.corpus()
    )
    rows = load_dictionary(made).rows
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[: len(large.centroids)], large.centroids)


def test_positives_and_negatives_are_the_senses_of_synonyms_and_antonyms(nexted):
    artifact = nexted.dictionary()
    dictionary, words = load_dictionary(artifact), _words(artifact)
    light = words["light"]["token_ids"][0]
    expected = [
        row
        for name in ("dark", "heavy")
        if words[name]["row_start"] >= 0
        for row in range(words[name]["row_start"], words[name]["row_stop"])
    ]
    assert expected
    assert sorted(dictionary.antonyms.rows_of(light)) == sorted(expected)


def test_all_written_variants_of_a_word_share_its_neighbours(nexted):
    headwords = nexted.words().table("headwords.parquet").to_pylist()
    dictionary = load_dictionary(nexted.dictionary())
    by_word: dict[int, list[int]] = {}
    for row in headwords:
        by_word.setdefault(row["word_id"], []).append(row["token_id"])
    several = [tokens for tokens in by_word.values() if len(tokens) > 1]
    assert several
    for tokens in several:
        lists = [sorted(dictionary.antonyms.rows_of(token)) for token in tokens]
        assert all(rows == lists[0] for rows in lists)


def test_negatives_never_include_own_senses(nexted):
    dictionary = load_dictionary(nexted.dictionary())
    for token in range(dictionary.n_tokens):
        assert not set(dictionary.own.rows_of(token)) & set(dictionary.antonyms.rows_of(token))


def test_at_most_max_antonyms_are_kept_the_heaviest_first(nexted):
    config = DictionaryConfig(max_antonyms=1)
    artifact = build_dictionary(
        nexted.store, config, nexted.senses(), nexted.words(), nexted.corpus()
    )
    words = _words(artifact)
    rows = load_dictionary(artifact).antonyms.rows_of(words["light"]["token_ids"][0])
    of_one = {
        tuple(range(words[name]["row_start"], words[name]["row_stop"]))
        for name in ("dark", "heavy")
    }
    assert tuple(rows) in of_one


def test_the_artifact_opens_with_plain_duckdb(nexted):
    place = nexted.dictionary().file_uri("words.parquet")
    sql = f"SELECT count(*) FROM '{place}' WHERE row_start >= 0"
    count = duckdb.sql(sql).fetchall()
    assert count == [(nexted.dictionary().record.counts["words"],)]


def test_the_artifact_reads_with_plain_zarr_and_pyarrow(nexted):
    folder = Path(nexted.dictionary().uri)
    dictionary = zarr.open_group(folder / "dictionary.zarr", mode="r")
    rows = dictionary["rows"]
    words = {w["word"]: w for w in pq.read_table(folder / "words.parquet").to_pylist()}
    light, dark = words["light"], words["dark"]
    [token] = light["token_ids"]
    own = slice(*dictionary["own_offsets"][token : token + 2])
    assert (own.start, own.stop) == (light["row_start"], light["row_stop"])
    assert rows[own].shape == (light["row_stop"] - light["row_start"], 32)
    antonyms = dictionary["antonym_rows"][slice(*dictionary["antonym_offsets"][token : token + 2])]
    assert set(range(dark["row_start"], dark["row_stop"])) <= set(antonyms)


def test_the_card_says_what_it_is_and_its_example_runs_as_it_stands(nexted, monkeypatch, capsys):
    folder = Path(nexted.dictionary().uri)
    card = (folder / "README.md").read_text("utf-8")
    for said in ("unstated", "word_pairs", nexted.senses().fingerprint, "arXiv:2602.22351"):
        assert said in card
    reading = card.split("## Reading it")[1].split("## Citation")[0].splitlines()
    code = "\n".join(line[4:] for line in reading if line.startswith("    "))
    monkeypatch.chdir(folder)
    exec(compile(code, "README.md", "exec"), {})
    assert "32)" in capsys.readouterr().out


def test_senses_and_words_of_different_tokenizers_are_refused_by_name(nexted, monkeypatch):
    other = nexted.words()
    monkeypatch.setitem(other.record.inputs, "tokenizer", "feedfeedfeedfeed")
    with pytest.raises(ArtifactError, match="feedfeedfeedfeed"):
        build_dictionary(nexted.store, DictionaryConfig(), nexted.senses(), other, nexted.corpus())
