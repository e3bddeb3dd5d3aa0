import threading
import time

import pytest

from dskd_core.ahead import made_ahead


class Maker:
    """Doubles numbers; says when it begins one, and waits before those it is told to."""

    def __init__(self, *, held: set[int] = frozenset()) -> None:
        self.begun = [threading.Event() for _ in range(9)]
        self.may = threading.Event()
        self.held = held

    def __call__(self, number: int) -> int:
        self.begun[number].set()
        if number in self.held:
            assert self.may.wait(timeout=10)
        return 2 * number


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "dskd-ahead" in thread.name]


@pytest.mark.parametrize("depth", [1, 2])
def test_so_many_pieces_are_made_while_one_is_used_and_no_more(depth):
    make = Maker()
    for number, made in enumerate(made_ahead(make, range(6), depth=depth)):
        assert made == 2 * number
        ahead = range(number + 1, min(6, number + 1 + depth))
        assert all(make.begun[i].wait(timeout=10) for i in ahead)
        assert not any(event.is_set() for event in make.begun[number + 1 + depth :])
    assert threads() == []


def test_an_error_is_raised_where_its_piece_is_asked_for_and_ends_the_thread():
    made = made_ahead(lambda number: 1 // (2 - number), range(9), depth=2)
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert threads() == []
    assert list(made) == []


def test_closing_waits_for_the_piece_under_way_and_makes_no_other():
    make = Maker(held={1})
    made = made_ahead(make, range(9), depth=3)
    threading.Timer(0.2, make.may.set).start()
    assert next(made) == 0
    assert make.begun[1].wait(timeout=10)
    made.close()
    assert threads() == []
    assert not make.begun[2].is_set()


def test_nothing_is_held_after_its_use():
    class Piece:
        alive = 0

        def __init__(self) -> None:
            Piece.alive += 1

        def __del__(self) -> None:
            Piece.alive -= 1

    made = made_ahead(lambda _: Piece(), range(9), depth=2)
    for _ in range(4):
        next(made)
        assert Piece.alive <= 3
    made.close()
    for _ in range(100):
        if not Piece.alive:
            break
        time.sleep(0.01)
    assert Piece.alive == 0
