import duckdb
import pyarrow as pa
import pytest

from dskd_core.config import RelationsConfig
from dskd_core.relations.filters import count_left_out, resolve_filters

ROWS = [
    # licence, source, pos, tags
    ("CC BY-NC 4.0", "mine", "noun", []),
    ("CC0", "word_pairs:a.csv", "noun", ["slang", "rare"]),
    ("CC0", "word_pairs:b.csv", "adj", ["rare"]),
    ("O'Reilly's", "roget", "", ["dated"]),
]


@pytest.fixture
def connection():
    columns = dict(zip(("licence", "source", "pos", "tags"), zip(*ROWS, strict=True), strict=True))
    with duckdb.connect() as found:
        table = pa.table({k: list(v) for k, v in columns.items()})
        found.register("lexicon_pairs", table)
        yield found


def kept(connection, **settings):
    filters = resolve_filters(connection, [], RelationsConfig(**settings))
    left_out = count_left_out(connection, [], filters)
    rows = connection.execute(
        f"SELECT source FROM lexicon_pairs WHERE {filters.allowed} ORDER BY 1"
    ).fetchall()
    return [source for (source,) in rows], {k: v for k, v in left_out.items() if v}


def test_rows_with_any_excluded_tag_are_left_out_and_counted_by_tag(connection):
    sources, left_out = kept(connection, excluded_tags=("slang", "dated"))
    assert sources == ["mine", "word_pairs:b.csv"]
    assert left_out == {"tag": {"dated": 1, "slang": 1}}


def test_commercial_use_drops_the_licences_that_forbid_it_by_name(connection):
    sources, left_out = kept(connection, commercial=True)
    assert "mine" not in sources
    assert left_out == {"licence": {"CC BY-NC 4.0": 1}}


def test_a_reader_stands_for_all_its_files_and_quotes_in_names_do_no_harm(connection):
    sources, left_out = kept(
        connection, excluded_sources=("word_pairs",), excluded_licences=("O'Reilly's",)
    )
    assert sources == ["mine"]
    assert left_out["source"] == {"word_pairs:a.csv": 1, "word_pairs:b.csv": 1}


def test_without_filters_every_row_stays(connection):
    sources, left_out = kept(connection)
    assert len(sources) == len(ROWS)
    assert left_out == {}
