import bz2
import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dskd_core.config import CorpusConfig
from dskd_core.corpus import Reading, read_documents
from dskd_core.corpus.readers import source_fingerprint
from dskd_core.errors import ConfigError, DataError
from dskd_core.samples import resolve
from dskd_core.store import input_files, parquet_rows


def read(source, **settings):
    reading = Reading()
    documents = list(read_documents(CorpusConfig(source=str(source), **settings), reading))
    return documents, reading.report()


def page(page_id, title, text, *, ns=0, extra=""):
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>{page_id}</id>{extra}"
        f"<revision><id>9{page_id}</id><text>{text}</text></revision></page>"
    )


def export(*pages):
    return "<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.10/'>" + "".join(pages)


END = "</mediawiki>"


def test_articles_are_read_and_every_other_page_is_counted(tmp_path):
    text = export(
        page(1, "Bank", "A '''bank''' lends."),
        page(2, "Old", "#REDIRECT [[Bank]]"),
        page(3, "Older", "x", extra="<redirect title='Bank'/>"),
        page(4, "Talk:Bank", "hm", ns=1),
        page(5, "User:A", "hm", ns=2),
        page(6, "List of banks", "* a"),
        page(7, "Spring", "a {{disambig}}"),
        page(8, "Empty", ""),
    )
    (tmp_path / "wiki.xml.bz2").write_bytes(bz2.compress((text + END).encode()))
    documents, report = read(tmp_path / "wiki.xml.bz2")
    assert [(d.id, d.title, d.text) for d in documents] == [
        ("1", "Bank", "A bank lends."),
        ("8", "Empty", ""),
    ]
    assert report["skipped"] == {
        "redirect": 2,
        "talk_page": 1,
        "other_namespace": 1,
        "list_page": 1,
        "disambiguation_page": 1,
    }
    assert report["places"]["list_page"] == ["6 List of banks"]


def test_invalid_utf8_is_replaced_and_counted_in_every_format(tmp_path):
    (tmp_path / "a.xml").write_bytes(
        (export(page(1, "T", "caf@")) + END).encode().replace(b"@", b"\xe9")
    )
    (tmp_path / "b.jsonl").write_bytes(b'{"text": "caf\xe9 \\ud800"}\n')
    (tmp_path / "c.txt").write_bytes(b"caf\xe9\x00")
    documents, report = read(tmp_path)
    assert [d.text for d in documents] == ["caf\ufffd", "caf\ufffd \ufffd", "caf\ufffd\ufffd"]
    assert report["repaired"] == {"invalid_character": 5}


def test_broken_lines_are_counted_with_their_numbers(tmp_path):
    lines = [
        '{"text": "one", "id": 7}',
        "{broken",
        "",
        '["list"]',
        '{"text": 3}',
        '{"text": "two"}',
        '{"text": "of two texts", "text": "one would be lost"}',
    ]
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    documents, report = read(tmp_path / "a.jsonl.gz")
    assert [(d.id, d.text) for d in documents] == [("7", "one"), ("a.jsonl.gz:6", "two")]
    assert report["skipped"] == {"broken_line": 2, "not_an_object": 1, "no_text": 1}
    assert report["places"]["broken_line"] == ["a.jsonl.gz:2", "a.jsonl.gz:7"]


def test_a_line_of_two_megabytes_is_one_document(tmp_path):
    text = "word and text " * 150_000
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": text}))
    assert [d.text for d in read(tmp_path / "a.jsonl")[0]] == [text]


def test_parquet_rows_become_documents(tmp_path):
    table = pa.table({"body": ["one", None, "two"], "key": [5, 6, None], "title": ["A", "B", "C"]})
    pq.write_table(table, tmp_path / "a.parquet")
    documents, report = read(tmp_path / "a.parquet", text_field="body", id_field="key")
    assert [(d.id, d.title) for d in documents] == [("5", "A"), ("a.parquet:3", "C")]
    assert report["skipped"] == {"no_text": 1}
    with pytest.raises(DataError, match=r"no column 'text'.*body, key, title"):
        read(tmp_path / "a.parquet")


def test_a_folder_of_texts_is_one_document_each_named_by_path(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.txt").write_text("b")
    (tmp_path / "a.txt").write_text("\ufeffa", "utf-8")
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    documents, report = read(tmp_path)
    assert [(d.id, d.title, d.text) for d in documents] == [
        ("a.txt", "a", "a"),
        ("sub/b.txt", "b", "b"),
    ]
    assert report["skipped"] == {"unknown_file": 1}


OTHERS = {
    "rows.csv": b"id,text\n1,the river\n",
    "rows.tsv": b"id\ttext\n1\tthe river\n",
    "array.json": b'[{"text": "the river"}]',
    "array": b'[\n  {"text": "the river"}]',
    "page.html": b"<p>the river</p>",
    "page": b"<!DOCTYPE html><p>the river",
    "book.xml": b'<?xml version="1.0"?><TEI><p>the river</p></TEI>',
    "paper.pdf": b"%PDF-1.4\nthe river",
    "paper": b"%PDF-1.4\nthe river",
    "letter.rtf": b"{\\rtf1 the river}",
    "settings.yaml": b"text: the river\n",
    "crawl": b"WARC/1.0\r\nthe river",
    "utf16.txt": "the river".encode("utf-16"),
    "utf16be.jsonl": '{"text": "the river"}'.encode("utf-16-be"),
    "utf32.txt": "the river".encode("utf-32"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_markup_and_data_of_other_formats_never_become_text(tmp_path, name):
    (tmp_path / name).write_bytes(OTHERS[name])
    with pytest.raises((ConfigError, DataError), match=r"in no format that is read|UTF-16 or"):
        read(tmp_path / name)
    (tmp_path / "a.txt").write_text("a letter\0 more")  # a stray zero is repaired
    documents, report = read(tmp_path)
    assert [d.text for d in documents] == ["a letter\ufffd more"]
    assert report["skipped"] == {"unknown_file": 1}
    assert report["places"]["unknown_file"] == [name]


def test_json_lines_may_be_called_json(tmp_path):
    (tmp_path / "rows.json").write_text('{"text": "a"}\n{"text": "b"}\n')
    assert [d.text for d in read(tmp_path / "rows.json")[0]] == ["a", "b"]


def test_a_name_that_says_nothing_is_read_by_its_first_bytes(tmp_path):
    (tmp_path / "dump").write_bytes(bz2.compress((export(page(1, "T", "text")) + END).encode()))
    (tmp_path / "rows").write_text(json.dumps({"text": "row"}))
    (tmp_path / "bytes").write_bytes(b"\0\1\2")
    assert read(tmp_path / "dump")[0][0].text == "text"
    assert read(tmp_path / "rows")[0][0].text == "row"
    with pytest.raises(ConfigError, match=r"'bytes'.*set corpus.format"):
        read(tmp_path / "bytes")


@pytest.mark.parametrize("compress", [bz2.compress, gzip.compress])
def test_a_file_that_breaks_off_is_refused_by_name(tmp_path, compress):
    whole = compress((export(page(1, "T", "text " * 5000)) + END).encode())
    (tmp_path / "a.xml.z").write_bytes(whole[:-20])
    (tmp_path / "b.xml").write_text(export(page(1, "T", "text")))
    with pytest.raises(DataError, match=r"a\.xml\.z is damaged"):
        read(tmp_path / "a.xml.z", format="mediawiki")
    with pytest.raises(DataError, match=r"b\.xml breaks off .* after page 1"):
        read(tmp_path / "b.xml")


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_lines_packed_by_zstandard_and_lz4_are_read(tmp_path, codec):
    with pa.CompressedOutputStream(str(tmp_path / "a.jsonl.z"), codec) as stream:
        stream.write(b'\xef\xbb\xbf{"text": "one"}\n{"text": "two"}\n')
    (tmp_path / "a.jsonl.z").rename(tmp_path / f"a.jsonl.{codec[:3]}")
    documents, report = read(tmp_path)
    assert [d.text for d in documents] == ["one", "two"]
    assert report["skipped"] == {}


def test_a_footer_of_more_row_groups_than_memory_bears_is_refused_unread(tmp_path):
    place = tmp_path / "many.parquet"
    with place.open("wb") as file:
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write((1 << 29).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(
        DataError, match=r"many\.parquet has a footer of 536,870,912 bytes.*: write"
    ):
        list(read_documents(CorpusConfig(source=str(place))))


def test_row_groups_of_no_rows_are_passed_over(tmp_path):
    rows = pa.table({"text": ["one"]})
    with pq.ParquetWriter(tmp_path / "a.parquet", rows.schema) as writer:
        for table in (rows[:0], rows, rows[:0]):
            writer.write_table(table)
    assert [d.text for d in read(tmp_path / "a.parquet")[0]] == ["one"]


def test_text_of_parquet_that_is_no_utf8_is_repaired_and_counted(tmp_path):
    ends = pa.py_buffer(np.array([0, 4, 6], np.int32))
    texts = pa.StringArray.from_buffers(2, ends, pa.py_buffer(b"caf\xe9ok"))
    pq.write_table(pa.table({"text": texts, "id": texts}), tmp_path / "a.parquet")
    documents, report = read(tmp_path / "a.parquet")
    assert [(d.id, d.text) for d in documents] == [("caf\ufffd", "caf\ufffd"), ("ok", "ok")]
    assert report["repaired"] == {"invalid_character": 2}


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1], pa.timestamp("us", tz="Mars/Phobos")),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([1 << 62], pa.timestamp("us")),
    ],
    ids=str,
)
def test_ids_of_parquet_that_python_has_no_value_for_are_refused_by_their_column(tmp_path, ids):
    pq.write_table(pa.table({"text": ["one"], "id": ids}), tmp_path / "a.parquet")
    with pytest.raises(
        DataError, match=r"^'id' of a\.parquet is a column of .*texts or numbers\.$"
    ):
        read(tmp_path / "a.parquet")


def test_a_column_that_stands_twice_in_parquet_is_refused(tmp_path):
    table = pa.table([pa.array(["one"]), pa.array(["two"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet has the column 'text' twice"):
        read(tmp_path / "a.parquet")


def test_of_a_hundred_thousand_columns_ten_are_named(tmp_path):
    names = ["x" * 100_000, *map(str, range(500))]
    pq.write_table(pa.table([pa.array([1])] * 501, names=names), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="and 491 more") as refused:
        read(tmp_path / "a.parquet")
    assert len(str(refused.value)) < 400


def test_pages_of_a_column_with_a_dot_in_its_name_are_measured_too(tmp_path):
    rows = pa.table({"a.b": ["x" * 5000, "y"], "a": ["no", "no"]})
    pq.write_table(rows, tmp_path / "a.parquet")
    with (tmp_path / "a.parquet").open("rb") as file:
        table = parquet_rows.open_rows(file)
        batches = parquet_rows.batches_of(table, file, ["a.b"], max_rows=9, limit=4000)
        assert list(batches) == [2]


def test_rows_of_parquet_beyond_the_limit_are_counted_before_they_are_unpacked(
    tmp_path, monkeypatch
):
    limit = 1 << 20
    monkeypatch.setattr(input_files, "MAX_DOCUMENT_BYTES", limit)
    monkeypatch.setattr(parquet_rows.batches_of, "__kwdefaults__", {"limit": limit})
    texts = ["first", "short", "x" * 3 * limit, "last"]
    # One text 300 times: 1 KB on disk, 150 MB in rows that would be read together.
    texts += ["y" * (limit // 2)] * 300
    table = pa.table({"text": texts})
    with pq.ParquetWriter(tmp_path / "a.parquet", table.schema, compression="zstd") as writer:
        for start, stop in ((0, 1), (1, 3), (3, 4), (4, 304)):
            writer.write_table(table.slice(start, stop - start))
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    before = pa.total_allocated_bytes()
    seen, highest = [], 0
    reading = Reading()
    for document in read_documents(CorpusConfig(source=str(tmp_path / "a.parquet")), reading):
        seen.append((document.id, document.text[:5]))
        highest = max(highest, pa.total_allocated_bytes() - before)
    assert seen[:3] == [("a.parquet:1", "first"), ("a.parquet:4", "last"), ("a.parquet:5", "yyyyy")]
    assert len(seen) == 2 + 300
    assert highest < 8 * limit
    assert reading.counts["long_document"] == 2, "short is in the row group of the long"


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_pages_of_parquet_are_as_large_as_their_headers_say(tmp_path, version, dictionary):
    texts = [chr(65 + i % 26) * (i % 500) for i in range(5000)]
    table = pa.table({"text": texts, "tags": [[t[:1]] * (len(t) % 3) for t in texts]})
    place = tmp_path / "a.parquet"
    options = {"data_page_version": version, "use_dictionary": dictionary}
    pq.write_table(table, place, data_page_size=1 << 14, row_group_size=3000, **options)
    with place.open("rb") as file:
        read = parquet_rows.open_rows(file)
        for group in range(2):
            for column in map(read.metadata.row_group(group).column, range(2)):
                sizes = parquet_rows._page_sizes(file, column)
                # The footer counts headers, too, with the least and greatest text of a page.
                assert 0 < column.total_uncompressed_size - sum(sizes) < 1100 * len(sizes)
        batches = parquet_rows.batches_of(read, file, ["text", "tags"], max_rows=700)
        rows = pa.Table.from_batches(batches)
    assert rows.equals(table)


@pytest.mark.parametrize("settings", [{}, {"format": "parquet"}])
def test_the_marks_of_whoever_wrote_a_parquet_folder_are_passed_over(tmp_path, settings):
    pq.write_table(pa.table({"text": ["one"]}), tmp_path / "part-0.parquet")
    for mark in ("_SUCCESS", "_committed_123"):
        (tmp_path / mark).touch()
    pq.write_metadata(pa.schema([("text", pa.string())]), tmp_path / "_common_metadata")
    documents, report = read(tmp_path, **settings)
    assert [d.text for d in documents] == ["one"]
    assert report["skipped"] == {"marker_file": 3}


def test_an_archive_in_a_folder_is_counted_and_alone_refused(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.zip").write_bytes(b"PK\x03\x04rest")
    documents, report = read(tmp_path)
    assert [d.id for d in documents] == ["a.txt"]
    assert report["places"]["unsupported_file"] == ["b.zip"]
    with pytest.raises(DataError, match=r"b\.zip is a zip archive, which is not read; unpack it"):
        read(tmp_path / "b.zip")


def test_what_is_longer_than_its_limit_is_counted_and_the_rest_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dskd_core.store.input_files.MAX_DOCUMENT_BYTES", 40)
    monkeypatch.setattr(input_files.lines_of, "__defaults__", (60,))
    monkeypatch.setattr(input_files.read_within, "__defaults__", (40,))
    (tmp_path / "a.txt").write_text("x" * 41)
    (tmp_path / "b.txt").write_text("x" * 40)
    lines = [{"text": "y" * 41}, {"text": "y" * 60}, {"text": "fits"}]
    (tmp_path / "c.jsonl").write_text("\n".join(map(json.dumps, lines)))
    documents, report = read(tmp_path)
    assert [d.id for d in documents] == ["b.txt", "c.jsonl:3"]
    assert report["places"] == {
        "long_document": ["a.txt", "c.jsonl:1"],
        "long_line": ["c.jsonl:2"],
    }


def test_an_absent_source_is_refused_with_its_cure(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere.*give a local path"):
        read(tmp_path / "nowhere")


def test_a_dataset_without_its_package_is_refused_with_its_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install dskd\[hub\]"):
        read("hf:wikitext")


def test_the_sample_encyclopedia_strips_to_prose():
    try:
        resolve("sample:enwiki-206")
    except ConfigError as error:
        pytest.skip(str(error))
    stream = read_documents(CorpusConfig())
    first = [next(stream) for _ in range(4)]
    assert (first[0].id, first[0].title) == ("12", "Anarchism")
    assert first[0].text.startswith("Anarchism is a political philosophy")
    for document in first:
        assert not any(m in document.text for m in ("{{", "}}", "[[", "]]", "thumb|", "<ref", "''"))


def test_ids_and_titles_without_end_are_cut_and_counted(tmp_path):
    row = json.dumps({"id": "i" * 10**6, "title": "t" * 10**6, "text": "a b"})
    (tmp_path / "a.jsonl").write_text(f"{row}\n{row}\n")
    reading = Reading()
    documents = list(read_documents(CorpusConfig(source=str(tmp_path / "a.jsonl")), reading))
    assert [(len(d.id), len(d.title)) for d in documents] == [(4096, 4096)] * 2
    assert reading.report()["repaired"] == {"long_name": 4}
    assert reading.places["long_name"] == ["a.jsonl:1"] * 2 + ["a.jsonl:2"] * 2


def test_a_file_whose_name_is_no_utf8_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "a.txt").write_text("a")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("b")
    config = CorpusConfig(source=str(tmp_path))
    for read in (source_fingerprint, lambda config: list(read_documents(config))):
        with pytest.raises(
            ConfigError, match=r"1 files whose names are no UTF-8 .*\\udce9.*rename"
        ):
            read(config)
