"""The explorer in a real browser: search, pages, map, comparison; no complaint, nobody asked."""

import socket
import threading
import time

import pytest
import uvicorn

from dskd_core.explorer.app import make_app
from dskd_core.explorer.export import export_pages
from dskd_core.explorer.shelf import Shelf
from tests.browser import chromium

TOP = "document.getElementById('{}').getBoundingClientRect().top"
CUT = "[...document.querySelectorAll('caption')].some(c => c.offsetWidth > window.innerWidth)"
COVERED = """(() => {
    const [point, detail] = [document.activeElement, document.getElementById("detail")]
        .map((element) => element.getBoundingClientRect());
    const under = detail.top < point.bottom && point.top < detail.bottom;
    return detail.bottom > window.innerHeight || under;
})()"""
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def address(explored):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        shelf = Shelf(explored.config.root_uri)
        app = make_app(shelf)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=20)
        shelf.close()


@pytest.fixture
def browsed():
    """A page of a browser, what it asked for, and what it complained of."""
    asked, said = [], []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        yield page, asked, said


@pytest.mark.slow
def test_pages_work_by_keyboard_in_any_width_and_ask_nobody(address, browsed):
    page, asked, said = browsed
    page.goto(address)
    page.keyboard.press("/")
    page.keyboard.type("ligh")
    page.wait_for_selector("#results a:has-text('light')")
    page.wait_for_selector("#results tbody tr:only-child")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "find", "Escape goes back to the search"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/word?q=light")
    assert page.locator("article.sense").count() > 1
    assert page.locator("article.sense mark").first.inner_text() == "light"
    assert page.locator("article .near .chip").count() > 0
    page.goto(f"{address}/map?q=light,small")
    page.locator("svg.map a").first.focus()
    assert "light" in page.inner_text("#detail")
    page.goto(f"{address}/map?q=light,small&method=tsne")
    page.wait_for_selector("text=t-SNE keeps neighbours", timeout=60_000)
    page.locator("svg.map a").last.focus()
    assert "row" in page.inner_text("#detail"), "the new picture answers as the old one did"
    for width, height in ((1100, 700), (400, 800)):
        page.set_viewport_size({"width": width, "height": height})
        for point in page.locator("svg.map a").all():
            point.focus()
            assert not page.evaluate(COVERED), "what is said of a sense is seen with it"
    page.set_viewport_size({"width": 1100, "height": 900})
    page.goto(f"{address}/compare?word=light")
    page.wait_for_selector("text=What changed", timeout=60_000)
    assert page.locator("svg.map circle").count() > 0
    changes = page.locator("a[href*='kind=pairs+removed']").get_attribute("href")
    page.goto(f"{address}/word?q=%3Cscript%3Ealert(1)%3C/script%3E")
    assert "<script>alert(1)</script>" in page.inner_text("main")
    complaints = [text for text in said if "404" not in text]  # of the unknown word's page itself
    assert complaints == []
    for path in ("/", "/word?q=light", "/pair?a=light&b=dark", "/map", "/contradictions", "/odd",
                 "/compare?word=light", changes, "/training"):  # fmt: skip
        for width in (1100, 760, 400):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(address + path)
            assert page.evaluate(OVERFLOW) <= 0, (path, width)
            assert not page.evaluate(CUT), (path, width)
    page.set_viewport_size({"width": 840, "height": 500})
    page.goto(f"{address}/word?q=light")
    last = page.locator("article.sense").last.get_attribute("id")
    page.goto(f"{address}/word?q=light#{last}")
    hidden = f"document.querySelector('header').getBoundingClientRect().bottom > {TOP}"
    assert not page.evaluate(hidden.format(last)), "the header hides no sense that is linked to"
    assert all(url.startswith((address, "data:")) for url in asked)
    assert [text for text in said if "404" not in text] == []


def test_an_export_works_without_a_server(explored, tmp_path, browsed):
    page, asked, said = browsed
    export_pages(explored.config.root_uri, tmp_path, most_frequent=3)
    page.goto((tmp_path / "index.html").as_uri())
    rows = page.locator("tbody tr:visible")
    n_rows = rows.count()
    first = page.locator("tbody td a").first.inner_text()
    page.fill("[data-filter]", first)
    assert 1 <= rows.count() < n_rows
    page.locator("tbody tr:visible a").first.click()
    page.wait_for_selector("article.sense")
    assert page.evaluate("getComputedStyle(document.querySelector('.sense')).borderRadius") == "6px"
    assert said == []
    assert all(url.startswith(("file:", "data:")) for url in asked)
