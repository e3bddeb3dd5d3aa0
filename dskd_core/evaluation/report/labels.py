"""The names of arms, and how numbers are written."""


class _Names(dict[str, str]):
    """The names of the built-in arms; a recipe of the user's is called what he calls it."""

    def __missing__(self, arm: str) -> str:
        return arm


NAMES = _Names(
    {
        "teacher": "teacher",
        "kd": "KD",
        "paper": "DSKD",
        "recommended": "Recommended",
        "kd_mse": "KD + state MSE",
        "paper_own": "DSKD, own senses",
        "paper_shuffled": "DSKD, shuffled",
        "paper_no_hinge": "DSKD, no hinge",
    }
)
CONTROLS = {
    "kd_mse": "What senses add to a plain pull towards the teacher's own state.",
    "paper_own": "What synonyms and antonyms add to a token's own senses.",
    "paper_shuffled": "What the right relations add, compared with relations of other tokens.",
    "paper_no_hinge": "What the push away from antonyms adds to the pull.",
}
ARROWS = {"lower": "↓", "higher": "↑", "none": ""}


def interval(low: float | None, high: float | None, digits: int) -> str:
    """Write an interval, or a dash for none.

    >>> interval(-0.5, 0.25, 2), interval(None, None, 2)
    ('[−0.50, +0.25]', '–')
    """
    if low is None or high is None:
        return "–"
    return f"[{signed(low, digits)}, {signed(high, digits)}]"


def signed(value: float, digits: int) -> str:
    """Write a difference with its sign.

    >>> signed(-1.0, 1)
    '−1.0'
    """
    return f"{value:+.{digits}f}".replace("-", "−")


def count(n: int, noun: str) -> str:
    """Write a count and its noun.

    >>> count(1, "window"), count(2000, "window")
    ('1 window', '2,000 windows')
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
