"""Foreign text in what Prefect's UI shows as Markdown: it stays text."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from dskd_core.markdown import code, escape, table
from dskd_core.training.student.card import model_card, with_scores
from tasks import redacted_pages
from tasks.curves import table_of
from tests.browser import chromium

HOSTILE = [
    "![](http://127.0.0.1:9/beacon)",
    "# h",
    "a | b | c",
    "<img src=http://127.0.0.1:9/beacon>",
    "[x](javascript:alert(1))",
    "[x]: http://127.0.0.1:9/",
    "`![](http://127.0.0.1:9/b)",
    "a\n\n# h\n\n![](http://127.0.0.1:9/b)",
    "`` a ` | ![](http://127.0.0.1:9/b)",
    "<http://127.0.0.1:9/>",
]


def kinds(text: str) -> list[str]:
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        for one in (token, *(token.children or [])):
            found += [one.type] * (one.type not in {"text", "code_inline", "softbreak", "inline"})
    return sorted(found)


def a_card(text: str) -> str:
    artifact = lambda **report: SimpleNamespace(  # noqa: E731
        record=SimpleNamespace(report=report, counts={"positions": 5})
    )
    counts = {"steps": 1, "parameters": 2, "trainable_parameters": 1}
    draft = SimpleNamespace(
        counts=counts, report={"last_step": {text: 1.0}}, precision=text, processor=text
    )
    work = SimpleNamespace(config={"arm": text, "seed": 0}, inputs={"dictionary": text, text: "b"})
    start = artifact(source=text, layers=[0], teacher_layers=2, entry=0)
    sources = artifact(sources=[{"kind": "pairs", "file": text, "licence": text}])
    card = model_card(work, start, artifact(text={"source": text}), sources, draft)
    return with_scores(card, artifact(means={text: 1.0}))


@pytest.mark.parametrize("text", HOSTILE)
def test_a_card_has_the_same_blocks_whatever_its_texts_say(text):
    assert kinds(a_card(text)) == kinds(a_card("plain"))


@pytest.mark.parametrize("text", HOSTILE)
def test_code_and_the_curve_s_columns_stay_what_they_are(text):
    assert kinds(f"so {code(text)}") == kinds("so plain")
    row = table((text, "b"), [(code(text), text)])
    assert kinds(row) == kinds(table(("a", "b"), [("a", "b")]))
    assert kinds(table_of([{text: 1.0}])) == kinds(table_of([{"steps": 1.0}]))


@pytest.mark.parametrize("text", HOSTILE)
def test_descriptions_and_cells_that_prefect_shows_stay_text(monkeypatch, text):
    shown = {}
    monkeypatch.setattr(
        redacted_pages.artifacts,
        "create_table_artifact",
        lambda rows, **o: shown.update(rows=rows, **o),
    )
    redacted_pages.create_table_artifact([{"place": text}], key="k", description=text)
    assert kinds(shown["description"]) == kinds("plain")
    if not text.startswith(("#", "a |")):  # a cell begins no block
        assert kinds(shown["rows"][0]["place"]) == kinds("plain")


def test_places_in_cells_stay_as_they_are():
    assert redacted_pages._cell("s3://bucket/a_b") == "s3://bucket/a_b"
    assert escape("plain") == "plain"


def test_a_browser_that_shows_a_card_asks_nobody():
    asked = []

    class Beacon(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_):
            pass

    beacon = ThreadingHTTPServer(("127.0.0.1", 0), Beacon)
    threading.Thread(target=beacon.serve_forever, daemon=True).start()
    shown = MarkdownIt("commonmark", {"html": True}).enable("table")
    texts = [text.replace(":9/", f":{beacon.server_port}/") for text in HOSTILE]
    safe = "\n\n".join(map(a_card, texts))
    with chromium() as browser:
        page = browser.new_page()
        page.set_content(shown.render(safe), wait_until="networkidle")
        silent = list(asked)
        page.set_content(shown.render("\n\n".join(texts)), wait_until="networkidle")
    beacon.shutdown()
    beacon.server_close()
    assert silent == []
    assert asked, "unescaped, the same texts do ask"
