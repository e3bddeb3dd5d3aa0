"""Broken rows and files among good ones: counted under their code, and nothing else is lost."""

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from dskd_core.config import LexiconConfig, SourceConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.embeddings.store import extract_shard, plan_shards
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.errors import ArtifactError
from dskd_core.lexicon.store import build_lexicon
from dskd_core.relations.tables import build_relations
from flows.train import train_students
from tasks.stage_uris import StageUris
from tests.miniature import WORDS, Built, make, write_teacher


@pytest.fixture
def config(tmp_path):
    return make(tmp_path, corpus={"max_document_tokens": 300})


@pytest.fixture
def built(config):
    return Built(config)


def test_dirty_documents_are_counted_and_all_others_are_there(built, tmp_path):
    folder = tmp_path / "corpus"
    clean = {path.name: path.read_text("utf-8") for path in folder.iterdir()}
    line = " ".join(WORDS) + " "
    (folder / "blank.txt").write_text(" \n\t\n", "utf-8")
    (folder / "empty.txt").write_bytes(b"")
    (folder / "long.txt").write_text(line * (2_000_000 // len(line) + 1), "utf-8")
    (folder / "latin.txt").write_bytes("the café near the river was quiet".encode("latin-1"))
    (folder / "short.txt").write_text("bank", "utf-8")
    (folder / "picture").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")

    corpus = built.corpus()

    report = corpus.record.report
    assert report["skipped"] == {"unknown_file": 1, "empty_document": 2, "short_document": 1}
    assert report["repaired"] == {"invalid_character": 1, "cut_document": 1}
    assert report["places"] == {
        "cut_document": ["long.txt"],
        "empty_document": ["blank.txt", "empty.txt"],
        "invalid_character": ["latin.txt"],
        "short_document": ["short.txt"],
        "unknown_file": ["picture"],
    }
    assert report["meaning"].keys() == report["places"].keys()
    expected = clean | {
        "long.txt": line * 100,
        "latin.txt": "the caf\N{REPLACEMENT CHARACTER} near the river was quiet",
    }
    tokenizer, windows = load_tokenizer(built.teacher().folder()), load_windows(corpus)
    names = corpus.table("documents.parquet")["document_id"].to_pylist()
    assert sorted(names) == sorted(expected)
    for number, name in enumerate(names):
        assert windows.document(number).tolist() == tokenizer.encode(expected[name])[:300], name


def test_a_line_of_two_megabytes_is_read_to_its_end(tmp_path):
    config = make(tmp_path)
    word = "river "
    text = word * (2_000_000 // len(word))
    (tmp_path / "corpus/long.txt").write_text(text + "bank", "utf-8")
    built = Built(config)
    corpus = built.corpus()
    assert corpus.record.report["repaired"] == {}
    rows = {row["document_id"]: row for row in corpus.table("documents.parquet").to_pylist()}
    tokenizer, windows = load_tokenizer(built.teacher().folder()), load_windows(corpus)
    ids = windows.document(rows["long.txt"]["document"])
    assert len(ids) == rows["long.txt"]["n_tokens"]
    assert tokenizer.hf.decode(ids) == text + "bank"


PAIRS = b"""word_a,word_b,relation
happy,kind,synonym

happy,kind,synonym,for sure
happy,kind
bank,Bank,synonym
1984,bank,synonym
<b>bank</b>,river,synonym
light,dark,antonym
light,heavy,opposite
caf\xe9,bank,synonym
small,large,antonym
"""


def test_dirty_pairs_are_counted_with_their_lines_and_all_others_are_there(built, tmp_path):
    (tmp_path / "pairs.csv").write_bytes(PAIRS)
    lexicon = build_lexicon(built.store, built.config.lexicon)
    (source,) = lexicon.record.report["pairs"]
    assert source["counts"] == {
        "markup": 1,
        "no_letter": 1,
        "not_utf8": 1,
        "pairs": 3,
        "self_link": 1,
        "unknown_relation": 1,
        "wrong_columns": 2,
    }
    assert source["first_lines"] == {
        "markup": [8],
        "no_letter": [7],
        "not_utf8": [11],
        "self_link": [6],
        "unknown_relation": [10],
        "wrong_columns": [4, 5],
    }
    assert related(lexicon) == {
        ("happy", "kind", "synonym"),
        ("light", "dark", "antonym"),
        ("small", "large", "antonym"),
    }
    relations = build_relations(built.store, built.config.relations, lexicon)
    assert {tuple(sorted(pair[:2])) + pair[2:] for pair in related(lexicon)} <= {
        tuple(sorted(pair[:2])) + pair[2:] for pair in related(relations)
    }
    assert not any(relations.record.report["checks"].values()), relations.record.report["checks"]


def related(artifact):
    table = "lexicon_pairs.parquet" if artifact.record.stage == "lexicon" else "pairs.parquet"
    rows = artifact.table(table).to_pylist()
    return {(row["word_a"], row["word_b"], row["relation"]) for row in rows}


def test_a_third_word_in_a_file_of_synonyms_is_counted(built, tmp_path):
    lines = "quick,fast\nquick,rapid,swift\nbig,large\n"
    (tmp_path / "synonyms.csv").write_text(lines, "utf-8")
    source = SourceConfig(kind="synonym_pairs", uri=str(tmp_path / "synonyms.csv"))
    lexicon = build_lexicon(built.store, LexiconConfig(sources=(source,), morphology=()))
    (report,) = lexicon.record.report["pairs"]
    assert report["counts"] == {"pairs": 2, "unknown_relation": 1}
    assert report["first_lines"] == {"unknown_relation": [2]}


def entry(word: str, **relations: list[str]) -> bytes:
    items = {name: [{"word": other} for other in others] for name, others in relations.items()}
    value = {"word": word, "lang_code": "en", "pos": "adj", "senses": [{"glosses": ["x"]}]}
    return json.dumps(value | items).encode()


def test_a_truncated_and_a_binary_line_of_wiktextract_are_counted(built, tmp_path):
    path = tmp_path / "wiktextract.jsonl"
    binary = b'\x00\xff\xfe{"synonyms"\x80'
    path.write_bytes(
        b"\n".join(
            [
                entry("happy", synonyms=["glad"]),
                entry("light", antonyms=["dark"])[:-20],
                binary,
                entry("bank"),
                entry("stone")[:-9],
                binary[:3],
                entry("large", synonyms=["big"], antonyms=["small"]),
                entry("cut", synonyms=["here"])[:30],
            ]
        )
    )
    source = SourceConfig(kind="wiktextract", uri=str(path))
    lexicon = build_lexicon(built.store, LexiconConfig(sources=(source,), morphology=()))
    (report,) = lexicon.record.report["pairs"]
    assert report["counts"] == {"broken_json": 5, "entries": 2, "without_relations": 1}
    assert report["first_lines"] == {"broken_json": [2, 3, 5, 6, 8]}
    assert related(lexicon) == {
        ("happy", "glad", "synonym"),
        ("large", "big", "synonym"),
        ("large", "small", "antonym"),
    }


@pytest.mark.xdist_group("prefect")
@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("another", ["model", "tokenizer"])
def test_a_dictionary_of_another_teacher_is_refused_by_name(config, built, tmp_path, another):
    folder = tmp_path / "another"
    if another == "tokenizer":
        write_teacher(folder, ["an elephant never forgets"])
    else:
        shutil.copytree(tmp_path / "teacher", folder)
        weights = load_file(folder / "model.safetensors")
        weights["model.norm.weight"] *= 2
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    teacher = prepare_teacher(
        built.store, config.teacher.model_copy(update={"source": str(folder)})
    )
    dictionary, corpus = built.dictionary(), built.corpus()
    uris = StageUris(teacher=teacher.uri, corpus=corpus.uri, dictionary=dictionary.uri)
    named = {
        "model": f"with teacher {tmp_path / 'teacher'} .{built.teacher().fingerprint}",
        "tokenizer": f"is {corpus.record.inputs['tokenizer']}, but",
    }[another]
    with pytest.raises(ArtifactError, match=f"{dictionary.fingerprint} .*{named}.*{folder} "):
        train_students(config, uris)
    assert built.store.of_stage("activations-shard") == []


def test_a_corpus_of_another_tokenizer_is_refused_by_name(config, built, tmp_path):
    write_teacher(tmp_path / "another", ["an elephant never forgets"])
    source = {"source": str(tmp_path / "another")}
    teacher = prepare_teacher(built.store, config.teacher.model_copy(update=source))
    corpus = built.corpus()
    shard = plan_shards(corpus, config.embeddings)[0]
    with pytest.raises(ArtifactError, match=f"corpus {corpus.fingerprint} .*{tmp_path}/another "):
        extract_shard(built.store, config.embeddings, config.teacher, teacher, corpus, shard)
