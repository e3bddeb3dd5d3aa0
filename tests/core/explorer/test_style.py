"""The colours of the explorer's style, by WCAG 2.1's formula of contrast."""

import re
from importlib.resources import files

import pytest

LEAST = 4.5
STYLE = (files("dskd_core.explorer") / "templates" / "explorer.css").read_text("utf-8")
LIGHT, DARK = {}, {}
for _block in re.split(r"(?=@media)", STYLE):
    _named = dict(re.findall(r"--(\w+): (#\w+)", _block))
    _named |= dict(re.findall(r"\.(c\d) { --c: (#\w+)", _block))
    (DARK if _block.startswith("@media (prefers-color-scheme: dark)") else LIGHT).update(
        {name: colour for name, colour in _named.items() if name != "c"}
    )


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21_to_1():
    assert contrast("#000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_every_colour_of_text_stands_out_from_what_is_behind_it(theme):
    texts = ["ink", "soft", "link", *(f"c{number}" for number in range(8))]
    pairs = [(text, behind) for text in texts for behind in ("paper", "card")]
    pairs.append(("ink", "mark"))
    pale = {pair: contrast(*(theme[name] for name in pair)) for pair in pairs}
    assert {pair: ratio for pair, ratio in pale.items() if ratio < LEAST} == {}
