"""A random llama's teacher and students on tagged words, whole."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from dskd_core.config import TaggedSourceConfig
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.dictionary.composition import compose
from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import Dictionary
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.word_senses.items import Context, Item
from dskd_core.evaluation.word_senses.store import place_of, score_senses, senses_of_words

SENTENCES = [
    ("bank", "river", "the stone near a bank of the river"),
    ("bank", "river", "a quiet garden and the bank in water"),
    ("bank", "money", "the money was in a bank"),
    ("bank", "money", "of the money with the bank"),
    ("light", "lamp", "a small house was with light"),
    ("light", "lamp", "the garden in light"),
    ("light", "weight", "the stone was light"),
    ("light", "weight", "a large house of light stone"),
]


@pytest.fixture(scope="module")
def tagged(tmp_path_factory):
    path = tmp_path_factory.mktemp("tagged") / "words.tsv"
    lines = ["word\tsense\tsentence", *("\t".join(row) for row in SENTENCES)]
    path.write_text("\n".join(lines) + "\n")
    return TaggedSourceConfig(kind="in_context", uri=str(path))


def scored(miniature, source, subject):
    return score_senses(
        miniature.store, source, miniature.config.teacher, miniature.dictionary(), subject
    )


def test_every_subject_is_asked_the_same_items_and_found_again(miniature, students, tagged):
    teacher = scored(miniature, tagged, miniature.teacher())
    student = scored(miniature, tagged, students["paper", 0])
    tables = [scores.table("items.parquet") for scores in (teacher, student)]
    for column in ("measure", "item", "word", "gold", "text"):
        assert tables[0][column].equals(tables[1][column])
    for scores, table in zip((teacher, student), tables, strict=True):
        for row in table.to_pylist():
            assert row["score"] == float(row["predicted"] == row["gold"])
        means = scores.record.report["means"]
        rows = [r["score"] for r in table.to_pylist() if r["measure"] == "nearest_mean"]
        assert means["nearest_mean"] == pytest.approx(np.mean(rows))
    assert (teacher.record.report["arm"], student.record.report["seed"]) == ("teacher", 0)
    content = student.record.content
    assert scored(miniature, tagged, students["paper", 0]).fingerprint == student.fingerprint
    miniature.store.discard(student)
    shutil.rmtree(student.uri, ignore_errors=True)
    assert scored(miniature, tagged, students["paper", 0]).record.content == content


def test_states_are_those_the_dictionary_was_filed_by(miniature, tagged):
    senses, dictionary = miniature.senses(), miniature.dictionary()
    assert senses.group("senses.zarr").attrs["key"] == "predicted"
    assert place_of(miniature.store, tagged, dictionary) == "before"
    at = tagged.model_copy(update={"state": "at"})
    assert place_of(miniature.store, at, dictionary) == "at"
    pairs = tagged.model_copy(update={"kind": "pairs"})
    assert place_of(miniature.store, pairs, dictionary) == "at"


def test_a_dictionary_without_its_senses_says_what_to_set(miniature, tagged, tmp_path):
    elsewhere = replace(miniature.store, root_uri=str(tmp_path))
    with pytest.raises(ArtifactError, match="set the source's state to before"):
        place_of(elsewhere, tagged, miniature.dictionary())


def test_words_of_several_tokens_have_composed_senses(miniature):
    tokenizer = load_tokenizer(miniature.teacher().folder())
    n, rng = tokenizer.n_tokens, np.random.default_rng(0)
    anchor = tokenizer.encode("a")
    spellings = {w: tokenizer.encode(f"a {w}")[len(anchor) :] for w in ("bank", "zebra", "quiz")}
    assert len(spellings["zebra"]) > 1
    missing = set(spellings["quiz"]) - set(spellings["zebra"]) - set(spellings["bank"])
    assert missing, "a token of quiz alone"
    counts = [0 if token in missing else 2 for token in range(n)]
    own = Csr(np.cumsum([0, *counts]), np.arange(sum(counts)))
    rows = rng.normal(size=(sum(counts), 4)).astype(np.float16)
    none = Csr(np.zeros(n + 1, np.int64), np.zeros(0, np.int64))
    items = [Item(w, w, "", (Context(w, w, 0, 1),)) for w in spellings]
    found = senses_of_words(items, tokenizer, Dictionary(rows, own, none, none, ""))
    assert set(found) == {"bank", "zebra"}
    for word, senses in found.items():
        spelling = np.array([spellings[word]])
        expected = compose(rows.astype(np.float32), own.offsets, spelling)[0]
        np.testing.assert_array_equal(senses, expected)


def test_pairs_are_scored_by_senses_and_by_states(miniature, tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("small\tlarge\tantonym\nhappy\tkind\tsynonym\nlight\tdark\tantonym\n")
    source = TaggedSourceConfig(kind="pairs", uri=str(path))
    teacher = scored(miniature, source, miniature.teacher())
    rows = teacher.table("items.parquet").to_pylist()
    states = {r["word"]: r["score"] for r in rows if r["measure"] == "states"}
    assert set(states) == {"large / small", "happy / kind", "dark / light"}
    assert all(-1.0 <= score <= 1.0 for score in states.values())
    better = [states["happy / kind"] > s for w, s in states.items() if w != "happy / kind"]
    assert teacher.record.report["means"]["states"] == pytest.approx(np.mean(better))


def test_another_tokenizer_is_refused(miniature, tagged, monkeypatch):
    dictionary = miniature.dictionary()
    monkeypatch.setitem(dictionary.record.report, "tokenizer", "another")
    monkeypatch.setattr(type(miniature.store), "find", lambda self, work: None)
    with pytest.raises(ArtifactError, match=r"the dictionary .* is another, but"):
        score_senses(
            miniature.store, tagged, miniature.config.teacher, dictionary, miniature.teacher()
        )
