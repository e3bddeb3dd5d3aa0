"""What the commands print while they work."""

import pytest

from flows import tables


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(tables, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_progress_is_a_line_now_and_then_and_one_at_the_end(clock):
    told = tables.PrintedProgress(seconds=20.0)
    with tables.console.capture() as printed:
        for n_done in range(1, 11):
            clock[0] += 9.0
            told(n_done, 10, "items (arc paper, part 1 of 2)", loss=1.0)
    lines = [line.strip() for line in printed.get().splitlines()]
    expected = [3, 6, 9, 10]  # after 27, 54 and 81 seconds, and when all is done
    assert lines == [f"{n} of 10 items (arc paper, part 1 of 2)" for n in expected]
