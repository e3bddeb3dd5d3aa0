r"""Foreign text on a terminal and in logs: what would steer a terminal is shown, not obeyed.

A token, a title, the name of a file or of a tensor may hold an escape sequence. It could clear the
screen, set the window's title, or make a line of a log read as another.
"""

import re

_STEERING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]|\r(?!\n)"
)
_STEERING_IN_LINE = re.compile(_STEERING.pattern.removesuffix("|\r(?!\n)"))


def visible(text: str, *, returns: bool = False) -> str:
    r"""Return a text with its control characters written out; line ends and tabs stay.

    So are marks that turn the direction of writing, and lone surrogates, which no file takes.
    ``returns`` leaves carriage returns as they are, too.

    >>> print(visible("a\x1b[2Jb\nc\x9b1m\u202e\udcff"))
    a\x1b[2Jb
    c\x9b1m\u202e\udcff
    """
    pattern = _STEERING_IN_LINE if returns else _STEERING
    return pattern.sub(lambda found: ascii(found[0])[1:-1], text)
