import gzip
import json
from datetime import date

import pytest

from dskd_core.errors import DataError
from dskd_core.lexicon import files

HAPPY = {
    "word": "happy",
    "lang_code": "en",
    "pos": "adj",
    "synonyms": [{"word": "glad", "sense": "cheerful", "tags": ["informal"]}, {"word": "Happy"}],
    "antonyms": [{"word": "unhappy"}, {"word": "wretch", "tags": ["obsolete"]}],
    "senses": [
        {"glosses": ["feeling joy"], "synonyms": [{"word": "joyful"}]},
        {"glosses": ["lucky"], "tags": ["archaic"], "synonyms": [{"word": "lucky"}]},
    ],
}
WRONG = b'{"word": 3, "synonyms": []}'
BYTES = b'{"word": "\xff", "synonyms": []}'
FRENCH = {"word": "chat", "lang_code": "fr", "synonyms": [{"word": "minou"}]}


def lines(*entries) -> bytes:
    return b"\n".join(json.dumps(e).encode() if isinstance(e, dict) else e for e in entries)


def test_relations_of_entries_and_of_senses_are_read(read):
    rows, _ = read("wiktextract", lines(HAPPY))
    found = {(r.word_b, r.relation, r.sense, r.pos, r.tags) for r in rows}
    assert found == {
        ("glad", "synonym", "cheerful", "adj", ("informal",)),
        ("unhappy", "antonym", "feeling joy", "adj", ()),
        ("joyful", "synonym", "feeling joy", "adj", ()),
    }


def test_what_is_left_out_is_counted(read):
    _, report = read("wiktextract", lines(HAPPY, FRENCH, {"title": "x", "redirect": "y"}))
    assert report.counts == {
        "entries": 1,
        "self_link": 1,
        "excluded_tag": 1,
        "excluded_sense": 1,
        "other_language": 1,
        "without_relations": 1,
    }


def test_an_entry_that_is_only_a_form_of_another_says_nothing(read):
    form = HAPPY | {"senses": [{"tags": ["form-of"]}]}
    rows, _ = read("wiktextract", lines(form))
    assert rows == []


@pytest.mark.parametrize(
    ("item", "code"),
    [
        ("more at Thesaurus:man", "markup"),
        ("Template:syn", "markup"),
        ("): feline cat", "markup"),
        ("1984", "no_letter"),
        ("", "no_letter"),
        ("-ness", "affix"),
        ("to be or not to be that", "too_long"),
    ],
)
def test_dirty_items_are_counted(read, item, code):
    entry = {"word": "cat", "lang_code": "en", "synonyms": [{"word": item}, {"word": "puss"}]}
    rows, report = read("wiktextract", lines(entry))
    assert [r.word_b for r in rows] == ["puss"]
    assert report.counts[code] == 1


def test_broken_lines_are_counted_with_their_numbers_and_the_rest_is_read(read):
    content = lines(HAPPY, b'{"word": "x"', WRONG, BYTES, b"", b'{"synonyms": ', HAPPY)
    rows, report = read("wiktextract", content)
    assert len(rows) == 6
    assert report.lines == {"broken_json": [2, 6], "wrong_shape": [3], "not_utf8": [4]}


def test_gzip_is_read_and_a_truncated_one_refused(read):
    whole = gzip.compress(lines(*[HAPPY] * 50))
    assert len(read("wiktextract", whole, "a.jsonl.gz")[0]) == 150
    with pytest.raises(DataError, match=r"b\.jsonl\.gz is damaged after line \d+"):
        read("wiktextract", whole[:-12], "b.jsonl.gz")


def test_antonyms_of_thesaurus_pages_are_tagged_and_noted(read):
    item = {"word": "mundane", "source": "Thesaurus:magical"}
    entry = {"word": "magical", "lang_code": "en", "senses": [{"antonyms": [item]}]}
    entry["synonyms"] = [{"word": "mystic", "source": "Thesaurus:magical"}]
    rows, report = read("wiktextract", lines(entry))
    assert [row.tags for row in rows] == [("thesaurus",), ("thesaurus", "thesaurus-antonym")]
    assert report.counts["thesaurus_antonyms"] == 1


@pytest.mark.parametrize(
    ("name", "made_on", "said"),
    [
        ("a.jsonl", None, "may be older, its date is not known"),
        ("a.jsonl", date(2025, 12, 17), "this one is of 2025-12-17"),
        ("a.jsonl", date(2025, 12, 18), "made on 2025-12-18; its Thesaurus antonyms are to be"),
        ("kaikki-English-20251101.jsonl", None, "this one is of 2025-11-01"),
        ("raw-2026-01-05.jsonl", None, "made on 2026-01-05"),
        ("raw-20251399.jsonl", None, "may be older"),
    ],
)
def test_what_thesaurus_antonyms_are_worth_depends_on_a_known_date(read, name, made_on, said):
    item = {"word": "mundane", "source": "Thesaurus:magical"}
    entry = {"word": "magical", "lang_code": "en", "senses": [{"antonyms": [item]}]}
    _, report = read("wiktextract", lines(entry), name, made_on=made_on)
    assert said in report.notes[0]


def test_real_entries_are_read(shared, read_file):
    rows, report = read_file("wiktextract", shared / "wiktextract" / "enwiktionary-slice.jsonl")
    found = {(r.word_a, r.word_b, r.relation) for r in rows}
    assert ("dictionary", "wordbook", "synonym") in found
    assert report.counts["entries"] + report.counts["without_relations"] == 1889
    assert 2200 < len(rows) < 2400


def test_a_row_carries_the_tags_of_its_sense_too(read):
    sense = {"tags": ["slang"], "glosses": ["x"], "synonyms": [{"word": "glad", "tags": ["rare"]}]}
    rows, _ = read("wiktextract", lines({"word": "happy", "lang_code": "en", "senses": [sense]}))
    assert rows[0].tags == ("rare", "slang")


def test_an_entry_with_an_excluded_tag_says_nothing(read):
    rows, report = read("wiktextract", lines(HAPPY | {"tags": ["obsolete"]}))
    assert rows == []
    assert report.counts["excluded_entry"] == 1


def test_lines_cut_by_blocks_and_long_ones_are_read_whole(read, monkeypatch):
    long = HAPPY | {"etymology_text": "nonyms" * 500}
    content = b"\xef\xbb\xbf" + lines(HAPPY, long, {"word": "x"}, b"{broken", HAPPY)
    whole = read("wiktextract", content)
    monkeypatch.setattr(files, "BLOCK_BYTES", 97)
    cut = read("wiktextract", content)
    assert len(cut[0]) == 9
    assert cut[0] == whole[0]
    assert cut[1].as_json() == whole[1].as_json()
    assert cut[1].lines == {"broken_json": [4]}


def test_a_file_in_another_encoding_gives_only_counted_lines(read):
    text = lines(HAPPY, HAPPY).decode().encode("utf-16")
    rows, report = read("wiktextract", text)
    assert rows == []
    assert report.counts["broken_json"] >= 2


def test_an_item_of_a_wrong_shape_is_counted_and_the_others_are_kept(read):
    entry = {
        "word": "happy",
        "lang_code": "en",
        "pos": "adj",
        "synonyms": [{"word": 3}, {"word": "glad"}, "text"],
        "senses": [
            {"glosses": ["merry"], "antonyms": [{"word": "sad"}, {"word": None}]},
            {"glosses": 7, "synonyms": [{"word": "lost"}]},
        ],
    }
    broken = {"word": 7, "synonyms": [{"word": "x"}]}
    rows, report = read("wiktextract", "\n".join(map(json.dumps, ({}, entry, broken))))
    assert [(row.relation, row.word_b) for row in rows] == [("synonym", "glad"), ("antonym", "sad")]
    assert report.counts["wrong_shape"] == 5
    assert report.lines["wrong_shape"] == [2, 2, 2, 2, 3]


def test_json_that_is_spread_over_lines_is_counted_and_ends_no_run(read):
    entry = {"word": "big", "lang_code": "en", "synonyms": [{"word": "large"}]}
    whole = json.dumps(entry)
    rows, report = read("wiktextract", json.dumps([entry], indent=1) + "\n" + whole + "\n")
    assert [(row.word_a, row.word_b) for row in rows] == [("big", "large")]
    assert report.counts["broken_json"] == 11


def test_a_line_of_too_many_levels_is_counted_and_ends_no_run(read):
    deep = b'{"word": "a", "x": ' + b"[" * 100_000 + b"]" * 100_000 + b', "synonyms": [%s]}'
    rows, report = read("wiktextract", lines(HAPPY, deep % b"{}", deep % b'{"word": 3}'))
    assert len(rows) == 3
    assert report.lines == {"broken_json": [2, 3]}


def test_relations_and_senses_that_are_no_list_are_counted(read):
    _, report = read("wiktextract", lines(HAPPY | {"senses": {"a": 1}, "synonyms": {"word": "b"}}))
    assert report.lines == {"wrong_shape": [1, 1]}
