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


def test_foreign_text_on_a_terminal_is_shown_and_steers_nothing():
    rows = [{"[/x]": "[red]a\x1b[2J", "b": "\x9b31m"}, {"[/x]": "[/red]", "b": "\udcff\u202e"}]
    with tables.console.capture() as printed:
        tables.print_rows(rows, "[link=http://127.0.0.1:9/]t\x1b]0;x\x07")
        tables.console.print("\x1b[31mline\nnext", markup=False)
    told = printed.get()
    assert not any(mark in told for mark in ("\x1b", "\x9b", "\x07", "\udcff", "\u202e"))
    for text in ("[/x]", "[red]a\\x1b[2J", "\\x9b31m", "[/red]", "\\udcff\\u202e", "[link="):
        assert text in told
    assert "\\x1b[31mline\nnext" in told


def test_a_refusal_with_foreign_text_steers_no_terminal():
    import typer

    from dskd_core.errors import DataError
    from flows.cli import refusals

    with tables.console.capture() as printed, pytest.raises(typer.Exit), refusals():
        raise DataError("\x1b[2J[/bold] names \udcff; correct it.")
    assert printed.get() == "DataError: \\x1b[2J[/bold] names \\udcff; correct it.\n"
