"""The report in a real browser: it loads whole, asks nobody, and complains of nothing."""

import pyarrow as pa
import pytest

from dskd_core.config import EvaluationConfig, TaggedSourceConfig
from dskd_core.evaluation.report.store import build_report
from dskd_core.evaluation.word_senses.store import score_senses
from dskd_core.store.artifacts import Work
from tests.browser import chromium

CONFIG = EvaluationConfig(n_resamples=50)
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"
SENTENCES = [
    ("bank", "river", "the stone near a bank of the river"),
    ("bank", "river", "a quiet garden and the bank in water"),
    ("bank", "money", "the money was in a bank"),
    ("bank", "money", "of the money with the bank"),
    ("bank", "money", "a bank near the house with money"),
    ("bank", "river", "a small <b>bank</b> of stone in the river"),
]


def benchmark_scores(store, arm, seed, scores):
    """Write what a benchmark run leaves, ten items of one task."""
    n = len(scores)
    work = Work("benchmark-scores", {}, {"model": f"{arm} {seed}"})
    columns = {
        "task": ["arc"] * n,
        "protocol": ["paper"] * n,
        "item": [f"arc/{i}" for i in range(n)],
        "subject": [""] * n,
        "group": [""] * n,
        "gold": [["A"]] * n,
        "answer": ["A" if score else "<script>alert(1)</script>" for score in scores],
        "score": [float(score) for score in scores],
    }
    with store.publish(work) as draft:
        draft.write_table("items.parquet", pa.table(columns))
        draft.counts |= {"items": n, "items_in_training": 1, "passages_in_training": 0}
        model = {"stage": "student", "fingerprint": "none", "arm": arm, "seed": seed}
        draft.report |= {"model": model, "trained_on": None}
    return store.get(work.stage, work.fingerprint)


SHIFTS = {"kd": 2, "paper": 4}


@pytest.fixture(scope="module")
def report(miniature, students, tmp_path_factory):
    path = tmp_path_factory.mktemp("tagged") / "words.tsv"
    lines = ["word\tsense\tsentence", *("\t".join(row) for row in SENTENCES)]
    path.write_text("\n".join(lines) + "\n")
    source = TaggedSourceConfig(kind="in_context", uri=str(path))
    models = [model for model in students if model[0] != "kd_mse"]
    store = miniature.store
    items = [
        score_senses(
            store, source, miniature.config.teacher, miniature.dictionary(), students[model]
        )
        for model in models
    ]
    items += [
        benchmark_scores(store, arm, seed, [(i + seed + SHIFTS[arm]) % 3 for i in range(10)])
        for arm, seed in models
    ]
    scores = [miniature.score(*model) for model in models]
    return build_report(store, CONFIG, scores, [students[model] for model in models], beside=items)


def test_the_page_loads_whole_and_asks_nobody(report):
    page_uri = (report.folder() / "report.html").resolve().as_uri()
    asked, said = [], []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1060, "height": 1200})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))

        def only_the_page(route):
            asked.append(route.request.url)
            if route.request.url == page_uri:
                route.continue_()
            else:
                route.abort()

        page.route(lambda url: not url.startswith("data:"), only_the_page)
        page.goto(page_uri)
        pictures = page.eval_on_selector_all("img", "all => all.map(i => i.naturalWidth)")
        tables = page.eval_on_selector_all(
            "table", "all => all.map(t => t.querySelectorAll('tbody tr').length)"
        )
        overflow = page.evaluate(OVERFLOW)
        text = page.inner_text("body")
        n_marked = page.locator("ol li blockquote").count()
        page.set_viewport_size({"width": 390, "height": 844})
        narrow_overflow = page.evaluate(OVERFLOW)
    assert asked == [page_uri]
    assert said == []
    assert len(pictures) == 4, "training, held-out text, benchmarks, words"
    assert all(width > 500 for width in pictures)
    assert len(tables) >= 8
    assert all(n_rows > 0 for n_rows in tables)
    assert overflow <= 0, "nothing is wider than the page"
    assert narrow_overflow <= 0, "on a telephone wide tables scroll, the page does not"
    assert n_marked > 0
    for words in ("ARC-Challenge (paper)", "words: nearest mean", "<script>alert(1)</script>"):
        assert words in text


def test_the_record_says_what_the_page_shows_of_items(report):
    rows = {(r["task"], r["protocol"]): r for r in report.record.report["items"]}
    # (i + seed + 4) % 3 of the paper's against (i + seed + 2) % 3 of KD, items of two seeds each.
    paper, kd = (sum((i + seed + n) % 3 for i in range(10) for seed in (0, 1)) / 20 for n in (4, 2))
    assert rows["arc", "paper"]["difference"] == pytest.approx(paper - kd)
    assert rows["arc", "paper"]["items"] == 10
    assert ("words", "nearest_mean") in rows
    markdown = (report.folder() / "report.md").read_text("utf-8")
    assert "1 are questions that the students were trained on" in markdown
