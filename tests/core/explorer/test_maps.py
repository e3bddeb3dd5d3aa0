"""Where words are written on a map."""

from dskd_core.explorer.maps import Point, labelled
from dskd_core.explorer.opened import Owner


def point(word: str, x: float, y: float) -> Point:
    return Point.plain(0, Owner(word, 0, word, 0), word, 0, x, y)


def test_a_word_is_written_where_it_hides_the_fewest_senses():
    crowd = [point("light", x, 300) for x in (100, 120, 140)] + [point("dark", 160, 303)]
    found = labelled([*crowd, point("light", 100, 100)])
    assert [one.label for one in found] == ["", "", "", "dark", "light"]


def test_words_are_not_written_over_one_another():
    found = labelled([point("light", 100, 100), point("dark", 110, 104), point("dark", 400, 100)])
    assert [one.label for one in found] == ["light", "", "dark"]
