import json
import shutil

import numpy as np
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from dskd_core.config import CorpusConfig
from dskd_core.corpus import build_corpus, load_windows, windows
from dskd_core.corpus import store as corpus_store
from dskd_core.decoder.pretrained import most_positions
from dskd_core.errors import ConfigError, DataError
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import ArtifactStore, Work

WORDS = [f"w{i}" for i in range(50)]


def make_teacher(store, *, bos, **settings):
    """A teacher artifact that is a tokenizer only: word wI has id I + 2, and <s> has id 1."""
    vocabulary = {"<unk>": 0, "<s>": 1} | {word: i + 2 for i, word in enumerate(WORDS)}
    backend = Backend(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 1)]
        )
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", unk_token="<unk>")
    work = Work("teacher", {"bos": bos} | settings, {})
    with store.publish(work) as draft:
        fast.save_pretrained(draft.folder)
        if settings:
            draft.write_json("config.json", settings)
    return store.find(work)


@pytest.fixture
def store(tmp_path):
    return ArtifactStore(str(tmp_path / "artifacts"))


def write_corpus(folder, lengths):
    folder.mkdir(exist_ok=True)
    rows = [
        {"id": f"d{i}", "title": f"T{i}", "text": " ".join(WORDS[(i + j) % 50] for j in range(n))}
        for i, n in enumerate(lengths)
    ]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return CorpusConfig(
        source=str(folder / "a.jsonl"), window_tokens=8, min_document_tokens=4, heldout_share=0.2
    )


LENGTHS = [20, 3, 9, 0, 8, 31]


def test_windows_hold_every_token_of_every_document_in_order(store, tmp_path):
    config = write_corpus(tmp_path / "c", LENGTHS)
    corpus = build_corpus(store, config, make_teacher(store, bos=True))
    loaded = load_windows(corpus)
    kept = [0, 2, 4, 5]
    expected = [[(i + j) % 50 + 2 for j in range(LENGTHS[i])] for i in kept]
    assert loaded.prefix == (1,)
    assert loaded.lengths.max() == 7
    for document, ids in enumerate(expected):
        mine = [i for i in range(loaded.n_windows) if loaded.documents[i] == document]
        assert [t for i in mine for t in loaded.window(i)] == ids
        assert loaded.starts[mine].tolist() == list(range(0, len(ids), 7))
        assert len(set(loaded.heldout[mine])) == 1
        assert loaded.document(document).tolist() == ids
    table = corpus.table("documents.parquet").to_pylist()
    assert [row["document_id"] for row in table] == [f"d{i}" for i in kept]
    assert [row["n_tokens"] for row in table] == [LENGTHS[i] for i in kept]
    assert [row["key"] for row in table] == [windows.document_hash(f"d{i}") for i in kept]
    assert loaded.document_hashes.tolist() == [row["key"] for row in table]
    assert corpus.record.counts["n_tokens"] == 68
    assert corpus.record.report["skipped"] == {"empty_document": 1, "short_document": 1}


def test_a_place_is_shown_with_the_text_around_it(store, tmp_path):
    loaded = load_windows(
        build_corpus(store, write_corpus(tmp_path / "c", [30]), make_teacher(store, bos=False))
    )
    assert loaded.prefix == ()
    left, right = loaded.context(0, 10, before=3, after=2)
    assert (left.tolist(), right.tolist()) == ([10, 11, 12], [13, 14])
    left, right = loaded.context(0, 0, before=5, after=0)
    assert (left.tolist(), right.tolist()) == ([2], [])
    assert loaded.context(0, 29, before=1, after=9)[1].tolist() == []


def test_a_rerun_finds_its_work_and_other_text_is_other_work(store, tmp_path):
    teacher = make_teacher(store, bos=False)
    config = write_corpus(tmp_path / "c", LENGTHS)
    first = build_corpus(store, config, teacher)
    assert build_corpus(store, config, teacher).record.created_at == first.record.created_at
    moved = config.model_copy(update={"source": write_corpus(tmp_path / "d", LENGTHS).source})
    assert build_corpus(store, moved, teacher).fingerprint == first.fingerprint
    other = build_corpus(store, write_corpus(tmp_path / "c", [*LENGTHS, 9]), teacher)
    assert other.fingerprint != first.fingerprint


def test_the_same_text_gives_the_same_bytes_in_another_place(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus_store, "_CHUNK_ITEMS", 16)
    contents = set()
    for name in ("one", "two"):
        store = ArtifactStore(str(tmp_path / name))
        config = write_corpus(tmp_path / "c", [40, 33, 7])
        corpus = build_corpus(store, config, make_teacher(store, bos=False))
        assert len(load_windows(corpus).token_ids) == 80
        contents.add(corpus.record.content)
    assert len(contents) == 1


def test_max_tokens_takes_the_first_documents_of_a_seeded_order_and_cuts_the_last(store, tmp_path):
    lengths = [5 + i % 9 for i in range(60)]
    config = write_corpus(tmp_path / "c", lengths)
    limited = config.model_copy(update={"max_tokens": 100, "seed": 7})
    corpus = build_corpus(store, limited, make_teacher(store, bos=False))
    expected, total = {}, 0
    for i in sorted(range(60), key=lambda i: windows.order_key(f"d{i}", 7)):
        size = min(lengths[i], 100 - total)
        if size >= 4:
            expected[f"d{i}"] = size
        total += lengths[i]
        if total >= 100:
            break
    rows = corpus.table("documents.parquet").to_pylist()
    assert {row["document_id"]: row["n_tokens"] for row in rows} == expected
    order = [int(row["document_id"][1:]) for row in rows]
    assert order == sorted(order)
    assert corpus.record.report["skipped"]["beyond_max_tokens"] == 60 - len(rows)


def test_a_taken_id_is_renamed_and_stays_on_the_same_side_of_the_split(store, tmp_path):
    config = write_corpus(tmp_path / "c", [8])
    text = {"text": " ".join(WORDS[:9])}
    rows = [{"id": f"d{i // 2}", **text} for i in range(40)]
    (tmp_path / "c/a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    corpus = build_corpus(store, config, make_teacher(store, bos=False))
    documents = corpus.table("documents.parquet").to_pylist()
    assert [d["document_id"] for d in documents[:4]] == ["d0", "d0#2", "d1", "d1#2"]
    assert all(
        a["heldout"] == b["heldout"] for a, b in zip(documents[::2], documents[1::2], strict=True)
    )
    assert corpus.record.report["repaired"] == {"duplicate_id": 20}


def test_long_documents_are_cut_and_counted(store, tmp_path):
    config = write_corpus(tmp_path / "c", [30, 5]).model_copy(update={"max_document_tokens": 10})
    corpus = build_corpus(store, config, make_teacher(store, bos=False))
    assert corpus.table("documents.parquet")["n_tokens"].to_pylist() == [10, 5]
    assert corpus.record.report["repaired"] == {"cut_document": 1}


def test_a_corpus_without_usable_documents_is_refused_and_leaves_nothing(store, tmp_path):
    config = write_corpus(tmp_path / "c", [3, 0])
    with pytest.raises(DataError, match="'short_document': 1"):
        build_corpus(store, config, make_teacher(store, bos=False))
    assert store.of_stage("corpus") == []


@pytest.mark.parametrize(
    "settings",
    [
        {"max_position_embeddings": 7},
        {"n_positions": 7},
        {"model_type": "gemma3", "text_config": {"max_position_embeddings": 7}},
    ],
)
def test_windows_longer_than_the_teacher_reads_are_refused(store, tmp_path, settings):
    config = write_corpus(tmp_path / "c", [30, 5])
    with pytest.raises(ConfigError, match=r"window_tokens 8 is more than the 7 tokens"):
        build_corpus(store, config, make_teacher(store, bos=False, **settings))


def test_windows_that_the_teacher_reads_are_made(store, tmp_path):
    config = write_corpus(tmp_path / "c", [30, 5])
    teacher = make_teacher(store, bos=False, max_position_embeddings=8)
    assert build_corpus(store, config, teacher).record.counts["n_tokens"] == 35


@pytest.mark.parametrize(
    ("settings", "most"),
    [
        ({"rope_parameters": {"rope_type": "linear"}}, 7),
        ({"rope_scaling": {"type": "dynamic"}}, None),
        ({"rope_parameters": {"rope_type": "dynamic"}}, None),
        ({"alibi": True}, None),
    ],
)
def test_what_stretches_itself_bounds_no_window(tmp_path, settings, most):
    values = {"max_position_embeddings": 7} | settings
    (tmp_path / "config.json").write_text(json.dumps(values))
    assert most_positions(tmp_path) == most


def test_a_window_without_room_is_refused(store, tmp_path, monkeypatch):
    teacher = make_teacher(store, bos=True)
    monkeypatch.setattr("dskd_core.decoder.tokenizer.Tokenizer.prefix", list(range(7)))
    with pytest.raises(ConfigError, match="window_tokens 8 leaves 1"):
        build_corpus(store, write_corpus(tmp_path / "c", [20]), teacher)


def test_a_flipped_bit_in_the_tokens_is_noticed_on_reading(store, tmp_path):
    corpus = build_corpus(store, write_corpus(tmp_path / "c", [40]), make_teacher(store, bos=False))
    chunk = tmp_path / "artifacts/corpus" / corpus.fingerprint / "windows.zarr/token_ids/c/0"
    data = bytearray(chunk.read_bytes())
    data[5] ^= 1
    chunk.write_bytes(bytes(data))
    with pytest.raises(Exception, match=r"has another SHA-256"):
        load_windows(corpus)


def test_progress_is_told_bytes_documents_and_tokens(store, tmp_path):
    told = []
    build_corpus(
        store,
        write_corpus(tmp_path / "c", LENGTHS),
        make_teacher(store, bos=False),
        progress=lambda *args, **measures: told.append((args, measures)),
    )
    (n_done, n_total, unit), measures = told[-1]
    assert (n_done <= n_total, unit, measures) == (True, "bytes", {"documents": 6, "tokens": 68})
    assert np.all(np.diff([args[0] for args, _ in told]) >= 0)


def test_plain_text_has_no_answers(store, tmp_path):
    config = write_corpus(tmp_path / "c", [9, 9])
    loaded = load_windows(build_corpus(store, config, make_teacher(store, bos=True)))
    assert loaded.answers is None
    assert loaded.answer(1).tolist() == [False, False]


def test_answers_of_prompts_are_read_beside_their_tokens(store, tmp_path):
    config = write_corpus(tmp_path / "c", [9, 9])
    corpus = build_corpus(store, config, make_teacher(store, bos=True))
    work = Work("prompts", {}, {"corpus": corpus.fingerprint})
    flags = np.arange(18) % 7 == 6
    with store.publish(work) as draft:
        shutil.copytree(corpus.folder(), draft.folder, dirs_exist_ok=True)
        put_array(draft.write_group("answers.zarr"), "answers", flags)
        shutil.copytree(draft.path("answers.zarr/answers"), draft.path("windows.zarr/answers"))
    loaded = load_windows(store.get("prompts", work.fingerprint))
    assert loaded.answer(0).tolist() == [False] * 6 + [True]
    assert loaded.answer(1).tolist() == [False, False]
    assert loaded.answer(2).tolist() == [False] * 4 + [True] + [False] * 2


def test_files_of_a_folder_that_are_left_out_stand_in_the_log_and_in_the_counts(
    store, tmp_path, caplog
):
    write_corpus(tmp_path / "c", LENGTHS)
    (tmp_path / "c/b.zip").write_bytes(b"PK\x03\x04rest")
    (tmp_path / "c/c.png").write_bytes(b"\x89PNG\0\0")
    config = CorpusConfig(source=str(tmp_path / "c"), window_tokens=8, min_document_tokens=4)
    corpus = build_corpus(store, config, make_teacher(store, bos=True))
    assert corpus.record.counts["n_files_left_out"] == 2
    assert "2 files are left out ('c.png', 'b.zip')" in caplog.text
