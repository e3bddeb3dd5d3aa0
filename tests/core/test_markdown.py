"""Foreign text in Markdown: what it must not become, whatever it begins with."""

import pytest

from dskd_core.markdown import Markdown, emphasize, escape, join, table


@pytest.mark.parametrize(
    "text", ["# a", "## a", "- a", "+ a", "1. a", "12) a", "===", "---", "#", "-", "> a", "    a"]
)
def test_no_text_begins_a_block(text):
    begins = escape(text).lstrip(" ")
    assert begins[0] in "\\&a" or begins.lstrip("0123456789")[0] == "\\"


@pytest.mark.parametrize("text", ["-0.5", "+0.0012 [−0.1, +0.2]", "1.5 nats", "#1", "1,000"])
def test_numbers_stay_readable(text):
    assert escape(text) == text


def test_text_is_one_line_and_links_nothing():
    assert escape("a\n\n# b\u2028c") == "a # b c"
    assert escape("http://x www.x.org") == "http\\://x www\\.x.org"
    assert escape("&#35; <b>") == "&amp;#35; &lt;b&gt;"


def test_brackets_that_could_make_a_link_are_escaped():
    assert escape("[1](x)") == "\\[1\\](x)"
    assert escape("[1]: x") == "\\[1\\]: x"
    assert escape("[1][2]") == "\\[1\\][2]"


def test_underscores_are_escaped_only_where_they_could_emphasize():
    assert escape("n_candidates _a_ b__c") == "n_candidates \\_a\\_ b\\_\\_c"


def test_markdown_is_not_escaped_again():
    assert escape(escape("*")) == "\\*"
    assert emphasize(Markdown("\\*")) == "**\\***"
    assert join([table(("a",), [("|",)]), "", "*"]) == "| a |\n|---|\n| \\| |\n\n\\*\n"
