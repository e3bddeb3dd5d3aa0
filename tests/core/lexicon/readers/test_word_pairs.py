import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dskd_core.errors import DataError
from dskd_core.lexicon import files
from dskd_core.store import parquet_rows


def said(rows):
    return [(r.word_a, r.word_b, r.relation) for r in rows]


def test_named_columns_may_stand_in_any_order(read):
    rows, _ = read("word_pairs", "pos,relation,word_b,word_a\nadj,antonym,cold,hot\n", "a.csv")
    assert said(rows) == [("hot", "cold", "antonym")]
    assert rows[0].pos == "adj"
    assert rows[0].source == "word_pairs:a.csv"


@pytest.mark.parametrize(
    "names", ["word,synonym", "Word_1,Word_2", "term,synonyms", "id,lemma,synonym"]
)
def test_a_row_of_names_is_no_pair_of_words(read, names):
    row = "7,big,large" if names.startswith("id") else "big,large"
    rows, _ = read("synonym_pairs", f"{names}\n{row}\n")
    assert said(rows) == [("big", "large", "synonym")]


@pytest.mark.parametrize("line", ["big\tlarge\tsynonym", "big,large,synonym", "big large synonym"])
def test_three_fields_without_a_header_are_two_words_and_their_relation(read, line):
    assert said(read("word_pairs", line + "\n")[0]) == [("big", "large", "synonym")]


def test_two_words_a_line_take_their_relation_from_the_kind(read):
    assert said(read("antonym_pairs", "hot cold\nwet dry\n")[0]) == [
        ("hot", "cold", "antonym"),
        ("wet", "dry", "antonym"),
    ]
    assert said(read("synonym_pairs", "ice cream\tgelato\n")[0]) == [
        ("ice cream", "gelato", "synonym")
    ]


def test_two_words_a_line_without_a_relation_are_refused_with_the_cure(read):
    with pytest.raises(DataError, match="synonym_pairs or antonym_pairs"):
        read("word_pairs", "hot cold\n")


def test_dirty_rows_are_counted_with_their_lines(read):
    text = "hot cold antonym\nhot\nhot Hot antonym\nhot ice maybe\nwet dry wet dry\nup down ant\n"
    rows, report = read("word_pairs", text.encode() + b"caf\xe9 bar synonym\n")
    assert said(rows) == [("hot", "cold", "antonym"), ("up", "down", "antonym")]
    assert report.lines == {
        "wrong_columns": [2, 5],
        "self_link": [3],
        "unknown_relation": [4],
        "not_utf8": [7],
    }


def test_parquet_is_read_by_column_name(tmp_path, read_file):
    path = tmp_path / "p.parquet"
    columns = {"word1": ["a b"], "word2": ["cd"], "relation": ["synonym"], "weight": [0.5]}
    pq.write_table(pa.table(columns), path)
    rows, _ = read_file("word_pairs", path)
    assert said(rows) == [("a b", "cd", "synonym")]
    assert rows[0].weight == 0.5


def test_rows_of_parquet_with_a_word_beyond_all_bounds_are_counted_unread(
    tmp_path, read_file, monkeypatch
):
    monkeypatch.setattr(parquet_rows.batches_of, "__kwdefaults__", {"limit": 1 << 16})
    columns = {"word_a": ["big", "x" * (1 << 17), "hot"], "word_b": ["large", "y", "cold"]}
    table = pa.table(columns | {"relation": ["synonym", "synonym", "antonym"], "more": [1, 2, 3]})
    pq.write_table(table, tmp_path / "p.parquet", row_group_size=1)
    rows, report = read_file("word_pairs", tmp_path / "p.parquet")
    assert said(rows) == [("big", "large", "synonym"), ("hot", "cold", "antonym")]
    assert (report.counts["long_line"], report.lines["long_line"]) == (1, [2])


def test_rows_of_parquet_that_are_no_utf8_are_counted_with_their_numbers(tmp_path, read_file):
    ends = pa.py_buffer(np.array([0, 3, 7], np.int32))
    words = pa.StringArray.from_buffers(2, ends, pa.py_buffer(b"hotcaf\xe9"))
    table = pa.table({"word_a": words, "word_b": ["cold", "bar"]})
    pq.write_table(table, tmp_path / "p.parquet")
    rows, report = read_file("antonym_pairs", tmp_path / "p.parquet")
    assert said(rows) == [("hot", "cold", "antonym")]
    assert (report.counts["not_utf8"], report.lines["not_utf8"]) == (1, [2])


def test_texts_of_parquet_that_are_views_are_read(tmp_path, read_file):
    """As polars writes them."""
    values = {"word_a": "big", "word_b": "large", "relation": "synonym", "pos": "adj"}
    table = pa.table({name: pa.array([text], pa.string_view()) for name, text in values.items()})
    pq.write_table(table, tmp_path / "p.parquet")
    rows, _ = read_file("word_pairs", tmp_path / "p.parquet")
    assert said(rows) == [("big", "large", "synonym")]


def test_two_columns_of_one_name_are_refused(tmp_path, read, read_file):
    with pytest.raises(DataError, match=r"two columns for weight \(word1, word2, weight, weight\)"):
        read("synonym_pairs", "Word1,Word2,weight,Weight\nbig,large,1,0.1\n", "a.csv")
    names = ["word_a", "word_b", "Word_B"]
    pq.write_table(pa.table([["a"], ["b"], ["c"]], names=names), tmp_path / "p.parquet")
    with pytest.raises(DataError, match="two columns for word_b"):
        read_file("synonym_pairs", tmp_path / "p.parquet")


def test_parquet_without_the_columns_is_refused(tmp_path, read_file):
    pq.write_table(pa.table({"left": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(DataError, match="has the columns left"):
        read_file("word_pairs", tmp_path / "p.parquet")


@pytest.mark.parametrize("values", [[["large", "great"]], [b"large"], [{"word": "large"}]])
def test_parquet_whose_words_are_no_texts_is_refused(tmp_path, read_file, values):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"word1": ["big"], "word2": values}), path)
    with pytest.raises(DataError, match=r"The column word2 of .* is no text but"):
        read_file("synonym_pairs", path)
    words = pa.array(["large"], pa.large_string()).dictionary_encode()
    pq.write_table(pa.table({"word1": ["big"], "word2": words}), path)
    assert said(read_file("synonym_pairs", path)[0]) == [("big", "large", "synonym")]


def test_a_third_word_is_no_relation_and_is_counted_with_its_line(read):
    rows, report = read("synonym_pairs", "big large\nbig large huge\nwet damp\n")
    assert said(rows) == [("big", "large", "synonym"), ("wet", "damp", "synonym")]
    assert report.lines == {"unknown_relation": [2]}


def test_lines_keep_their_numbers_and_quotes_whatever_the_size_of_a_block(read, monkeypatch):
    monkeypatch.setattr(files, "BLOCK_BYTES", 16)
    lines = [b"word_a,word_b,relation", b'"ice cream",gelato,syn', b"", b"caf\xe9,bar,syn"]
    lines += [b"hot,cold,antonym\r", b"hot,cold", b'a,"b,c",syn', b"up,down,ANT"]
    rows, report = read("word_pairs", b"\n".join(lines), "a.csv")
    assert said(rows) == [
        ("ice cream", "gelato", "synonym"),
        ("hot", "cold", "antonym"),
        ("a", "b,c", "synonym"),
        ("up", "down", "antonym"),
    ]
    assert report.lines == {"not_utf8": [4], "wrong_columns": [6]}
    assert report.n_lines == 8


def test_weights_outside_their_range_and_texts_that_are_no_number_are_counted(read):
    weights = ["", "1", "0.25", "0", "1.5", "nan", "heavy"]
    text = "word_a,word_b,relation,weight\n" + "".join(f"wet,dry,ant,{w}\n" for w in weights)
    rows, report = read("word_pairs", text)
    assert [row.weight for row in rows] == [1.0, 1.0, 0.25]
    assert report.lines == {"wrong_weight": [5, 6, 7, 8]}
