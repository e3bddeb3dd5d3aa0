import pyarrow as pa
import pytest

from dskd_core.dictionary.description import describe
from dskd_core.dictionary.queries import Queries, Sources
from dskd_core.errors import DataError


@pytest.fixture
def described(nexted):
    return lambda word: describe(nexted.store, nexted.dictionary(), word)


def test_a_word_shows_its_senses_with_text_and_its_relations_with_origin(described):
    text = described("Light")
    assert "sense 0" in text
    assert "«light»" in text
    assert "2 antonyms" in text
    assert "dark" in text
    assert "word_pairs" in text


def test_a_derived_pair_shows_its_affix_and_its_parent(described):
    assert "un- of friendly|unkind" in described("kind")


def test_a_word_the_dictionary_does_not_know_is_refused_by_name(described):
    with pytest.raises(DataError, match="xyzzy"):
        described("xyzzy")


def test_a_word_is_found_however_its_letters_are_written(nexted):
    queries = Queries(Sources(nexted.store, nexted.dictionary()))
    queries.add_table("words", pa.table({"word": ["Paris", "paris", "Rome"]}))
    queries._known |= {"words"}
    assert [queries.spelled(word) for word in ("paris", "Paris", " ROME ")] == [
        "paris",
        "Paris",
        "Rome",
    ]
