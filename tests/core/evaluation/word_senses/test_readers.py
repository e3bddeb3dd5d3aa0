"""Files as their authors publish them, written here row by row, and what is left out of them."""

import contextlib
import json
import os

import pytest

from dskd_core.config import TaggedSourceConfig
from dskd_core.errors import ConfigError, DataError
from dskd_core.evaluation.word_senses.files import content_fingerprint
from dskd_core.evaluation.word_senses.items import DIRTY
from dskd_core.evaluation.word_senses.readers import _marked, read_items
from tests.growth import LINEAR, growth

WIC = """\
board\tN\t2-2\tRoom and board .\tHe nailed boards across the windows .
carry\tV\t2-0\tYou must carry your camping gear .\tcarry a torch
spring\tN\t1-7\tThe spring came .\tWater rises from a spring .
row\tN\tonly three\tcells
go\tV\t0-1\tgo home\tWe go
"""
COARSE = "3\tshe ate an apple slowly\n0\tapple sold phones\n9\ttoo short\n1\tan apple\n"


def source(kind, uri, **settings):
    return TaggedSourceConfig(kind=kind, uri=str(uri), **settings)


def places(item):
    return [context.text[context.start : context.stop] for context in item.contexts]


@pytest.fixture
def wic(tmp_path):
    for split, gold in (("train", "F\nT\nT\nT\nT\n"), ("dev", "F\nF\nT\nT\n?\n")):
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{split}.data.txt").write_text(WIC)
        (tmp_path / split / f"{split}.gold.txt").write_text(gold)
    return tmp_path


def test_wic_is_read_with_the_word_its_index_counts(wic):
    items, dirt = read_items(source("wic", wic / "train" / "train.data.txt", train_share=0.0))
    assert [(item.word, item.gold, places(item)) for item in items] == [
        ("board", "F", ["board", "boards"]),
        ("carry", "T", ["carry", "carry"]),
        ("go", "T", ["go", "go"]),
    ]
    assert items[0].item == "train.data.txt:1"
    assert dirt.counts == {"bad_index": 1, "wrong_columns": 1}
    assert dirt.places["bad_index"] == ["train.data.txt:3"]


def test_what_is_in_the_train_part_too_is_not_scored(wic):
    with pytest.raises(DataError, match=r"0 items to score .*unknown_label 1, in_train_too 2"):
        read_items(source("wic", wic))


def test_dev_is_scored_only_where_there_is_no_test(wic):
    (wic / "test").mkdir()
    (wic / "test" / "test.data.txt").write_text("bank\tN\t0-0\tbank holiday\tbank robbery\n")
    (wic / "test" / "test.gold.txt").write_text("F\n")
    items, _ = read_items(source("wic", wic))
    assert [item.word for item in items if item.split == "test"] == ["bank"]
    assert len([item for item in items if item.split == "train"]) == 3


def test_labels_that_do_not_fit_their_file_are_refused(wic):
    (wic / "dev" / "dev.gold.txt").write_text("T\nF\n")
    with pytest.raises(DataError, match=r"2 labels for the 5 lines of dev\.data"):
        read_items(source("wic", wic))


def test_coarse_wsd_gives_the_names_of_the_classes(tmp_path):
    word = tmp_path / "apple"
    word.mkdir()
    (word / "classes_map.txt").write_text(json.dumps({"0": "apple_inc", "1": "apple_fruit"}))
    for split, data in (("train", COARSE), ("test", COARSE.replace("apple", "Apple"))):
        (word / f"{split}.data.txt").write_text(data)
        (word / f"{split}.gold.txt").write_text("1\n0\n0\n7\n")
    items, dirt = read_items(source("coarse_wsd", tmp_path))
    assert [(i.split, i.gold, places(i)) for i in items] == [
        ("train", "apple_fruit", ["apple"]),
        ("train", "apple_inc", ["apple"]),
        ("test", "apple_fruit", ["Apple"]),
        ("test", "apple_inc", ["Apple"]),
    ]
    assert {item.word for item in items} == {"apple"}
    assert items[2].item == "apple/test.data.txt:1"
    assert dirt.counts == {"bad_index": 2, "unknown_label": 2}
    alone, _ = read_items(source("coarse_wsd", word))
    assert [item.item for item in alone] == [item.item for item in items]


@pytest.mark.parametrize("kind", ["words", "levels", "holes", "pipe"])
def test_a_broken_map_of_classes_is_refused(tmp_path, kind):
    place = tmp_path / "classes_map.txt"
    if kind == "pipe":
        os.mkfifo(place)
    else:
        place.write_text("[" * 100_000 if kind == "levels" else "0: apple")
    if kind == "holes":
        os.truncate(place, 1 << 40)
    (tmp_path / "test.data.txt").write_text("0\tapple\n")
    (tmp_path / "test.gold.txt").write_text("0\n")
    with pytest.raises(DataError, match="is no JSON object"):
        read_items(source("coarse_wsd", tmp_path))


TABLE = """\
lemma\tsense\tsentence\tstart\tend
bank\triver\tthe bank of a river\t4\t8
bank\tmoney\tmoney in the <b>banks</b> here\t\t
bank\tmoney\tmy [[Bank]] lends "money\t\t
bank\triver\ta Bank overgrown\t\t
bank\triver\tbank beside bank\t\t
bank\triver\tno such word\t\t
bank\triver\tout of bounds\t4\t90
bank\t\tthe bank\t4\t8
bank
bank\triver\tthe bank of a river\t4\t8
"""


def test_a_word_is_found_by_its_place_its_mark_or_itself(tmp_path):
    path = tmp_path / "words.tsv"
    path.write_text(TABLE)
    items, dirt = read_items(source("in_context", path, train_share=0.0))
    assert [(places(i)[0], i.contexts[0].text) for i in items] == [
        ("bank", "the bank of a river"),
        ("banks", "money in the banks here"),
        ("Bank", 'my Bank lends "money'),
        ("Bank", "a Bank overgrown"),
    ]
    assert dirt.counts == {
        "word_ambiguous": 1,
        "word_not_found": 1,
        "bad_index": 1,
        "no_label": 1,
        "wrong_columns": 1,
        "duplicate": 1,
    }


def test_jsonl_and_csv_say_the_same_as_a_table(tmp_path):
    (tmp_path / "a.csv").write_text('word,sense,sentence\nbank,river,"the bank, grassy"\n')
    line = {"id": "x7", "word": "bank", "sense": "river", "sentence": "the bank, grassy"}
    (tmp_path / "b.jsonl").write_text(
        json.dumps(line | {"start": 4, "end": 8, "split": "train"}) + "\n[]\n{\n"
    )
    (csv_item,), _ = read_items(source("in_context", tmp_path / "a.csv", train_share=0.0))
    with pytest.raises(DataError, match="broken_line 2"):
        read_items(source("in_context", tmp_path / "b.jsonl"))
    line["split"] = "test"
    (tmp_path / "b.jsonl").write_text(json.dumps(line))
    (json_item,), _ = read_items(source("in_context", tmp_path / "b.jsonl", train_share=0.0))
    assert json_item.contexts == csv_item.contexts
    assert (json_item.item, csv_item.item) == ("x7", "a.csv:2")


def test_a_source_without_a_train_part_is_split_word_by_word_by_its_text_alone(tmp_path):
    rows = [f"{word}\ts{n % 2}\tthe {word} number {n}" for word in ("bank", "spring")
            for n in range(10)]  # fmt: skip
    path = tmp_path / "words.tsv"
    path.write_text("word\tsense\tsentence\n" + "\n".join(rows))
    items, _ = read_items(source("in_context", path, train_share=0.3))
    train = {i.contexts[0].text for i in items if i.split == "train"}
    for word in ("bank", "spring"):
        assert sum(word in text for text in train) == 3
    path.write_text("word\tsense\tsentence\n" + "\n".join(reversed(rows)))
    again, _ = read_items(source("in_context", path, train_share=0.3))
    assert {i.contexts[0].text for i in again if i.split == "train"} == train
    few, _ = read_items(source("in_context", path, train_share=0.3, max_items=4))
    assert sorted(i.split for i in few) == ["test"] * 4 + ["train"] * 4


def test_pairs_are_unordered_and_named_by_their_relation(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text("hot\tcold\tantonym\nBig\tlarge\tSYN\ncold\thot\tantonyms\nbig\tBig\tsynonym\n"
                    "up\tdown\tother\nup\t\tantonym\n")  # fmt: skip
    items, dirt = read_items(source("pairs", path))
    assert [(item.word, item.gold) for item in items] == [
        ("cold / hot", "antonym"),
        ("Big / large", "synonym"),
    ]
    assert [c.text for c in items[0].contexts] == ["The word cold", "The word hot"]
    assert dirt.counts == {
        "duplicate": 1,
        "same_word": 1,
        "unknown_label": 1,
        "wrong_columns": 1,
    }


def test_a_place_without_such_files_is_refused_by_name(tmp_path):
    with pytest.raises(ConfigError, match="no folder with files of the kind wic"):
        read_items(source("wic", tmp_path))


def test_the_fingerprint_is_of_the_content_and_covers_the_labels(wic):
    first = content_fingerprint(source("wic", wic))
    assert content_fingerprint(source("wic", wic)) == first
    (wic / "dev" / "dev.gold.txt").write_text("F\nF\nT\nF\n?\n")
    assert content_fingerprint(source("wic", wic)) != first


def test_every_code_has_words():
    assert all(DIRTY.values())


@pytest.mark.parametrize("within", ["\u2028", "\x85", "\x0c"])
def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path, within):
    rows = [f"bank\tN\t0-0\tbank{within} {end}\tbank robbery\r\n" for end in ("one", "two")]
    (tmp_path / "test.data.txt").write_bytes("".join(rows).encode())
    (tmp_path / "test.gold.txt").write_bytes(b"F\r\nF\r\n")
    items, dirt = read_items(source("wic", tmp_path, train_share=0.0))
    assert (len(items), dirt.counts) == (2, {})
    assert items[0].contexts[0].text == f"bank{within} one"


def test_a_quote_that_is_not_closed_costs_its_own_row(tmp_path):
    rows = ["word_a,word_b,label", 'hot,"cold,ant', "big,large,syn", '"up","down",ant', "a,b,syn"]
    (tmp_path / "a.csv").write_text("\n".join([*rows, '"two\nlines",c,syn', 'x,"y,syn']))
    items, dirt = read_items(source("pairs", tmp_path / "a.csv"))
    assert sorted(item.word for item in items) == [
        "a / b",
        "big / large",
        "c / two\nlines",
        "down / up",
    ]
    assert dirt.counts["open_quote"] == 2


@pytest.mark.parametrize("mark", ["<b>", "[[", "<b>x[[", "]] [["])
def test_marks_that_are_not_closed_are_looked_for_once(mark):
    assert growth(_marked, lambda n: mark * n, 25_000) < LINEAR


def test_a_place_of_thousands_of_digits_is_a_bad_index(tmp_path):
    (tmp_path / "a.tsv").write_text(
        f"word\tsense\tsentence\tstart\tstop\nb\t1\ta b\t2\t{'9' * 5000}\nb\t1\ta b\t2\t3\n"
    )
    _, dirt = read_items(source("in_context", tmp_path / "a.tsv", train_share=0.0))
    assert dirt.counts["bad_index"] == 1


def test_a_line_that_is_no_utf_8_is_refused_with_its_number(wic):
    data = wic / "train" / "train.data.txt"
    data.write_bytes(data.read_bytes().replace(b"carry a torch", b"carry a t\xffrch"))
    with pytest.raises(DataError, match=r"Line 2 of .* is no UTF-8 at byte \d+; save it as UTF-8"):
        read_items(source("wic", wic))


def test_two_columns_for_one_thing_are_refused_unless_one_has_our_name_for_it(tmp_path):
    table = tmp_path / "a.tsv"
    table.write_text("word\tsense\tlabel\tsentence\nbank\tmoney\t1\tthe bank pays\n")
    items, _ = read_items(source("in_context", table, train_share=0.0))
    assert [item.gold for item in items] == ["money"]
    table.write_text("word\tsense\ttext\tcontext\nbank\tmoney\tthe bank pays\tbank\n")
    with pytest.raises(DataError, match=r"2 columns for the sentence \(text, context\)"):
        read_items(source("in_context", table, train_share=0.0))


def test_an_object_that_says_one_thing_under_two_names_is_counted(tmp_path):
    row = {"word": "bank", "sense": "money", "sentence": "the bank pays"}
    both = {"word": "bank", "sense": "money", "text": "the bank", "context": "a bank"}
    lines = [row | {"label": 1, "text": "a bank"}, both]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    items, dirt = read_items(source("in_context", tmp_path / "a.jsonl", train_share=0.0))
    assert [(item.gold, item.contexts[0].text) for item in items] == [("money", "the bank pays")]
    assert dirt.counts == {"broken_line": 1}


def test_a_header_of_many_columns_takes_time_in_proportion_to_them(tmp_path):
    def read(header):
        (tmp_path / "a.tsv").write_text(header + "\nbank\tmoney\tthe bank pays\n")
        with contextlib.suppress(DataError):
            read_items(source("in_context", tmp_path / "a.tsv", train_share=0.0))

    assert growth(read, lambda n: "word\tsense\tsentence" + "\tx" * n, 20_000) < LINEAR
    assert growth(read, lambda n: "word\tsense" + "\tcontext" * n, 20_000) < LINEAR
