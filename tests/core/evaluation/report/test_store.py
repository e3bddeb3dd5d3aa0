"""The report of a random llama's students, and of scores written by hand."""

import math
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest

from dskd_core.config import EvaluationConfig
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.comparison.heldout_scores import HeldoutScores
from dskd_core.evaluation.heldout.metrics import METRICS
from dskd_core.evaluation.report.page import (
    Cell,
    Excerpt,
    Page,
    Picture,
    Section,
    Table,
    to_html,
    to_markdown,
)
from dskd_core.evaluation.report.store import build_report
from dskd_core.store.artifacts import ArtifactStore, Work

CONFIG = EvaluationConfig(n_resamples=200)
N_WINDOWS = 24


def write_scores(store, arm, seed, *, ce=3.0, window_shift=0, teacher="a teacher"):
    """Write scores of 24 windows in 12 documents, 10 positions each, CE ``ce`` at all of them."""
    columns = {name: np.full(N_WINDOWS, 5.0) for m in METRICS for name in (m.total, m.count)}
    columns |= {
        "n_positions": np.full(N_WINDOWS, 10, np.int32),
        "ce": 10.0 * ce + np.linspace(-0.01, 0.01, N_WINDOWS),
        "window": np.arange(N_WINDOWS, dtype=np.int32) + window_shift,
        "document": np.arange(N_WINDOWS, dtype=np.int32) // 2,
    }
    sums = {name: float(values.sum()) for name, values in columns.items()}
    work = Work("scores", {"ce": ce, "shift": window_shift}, {"student": f"{arm} {seed}"})
    with store.publish(work) as draft:
        draft.write_table("windows.parquet", pa.table(columns))
        draft.counts |= {"layers": 15, "parameters": 81_000_000, "windows": N_WINDOWS}
        draft.counts |= {"documents": 12, "positions": 240}
        draft.counts["positions_with_synonyms_and_antonyms"] = 120
        means = {m.name: sums[m.total] / sums[m.count] for m in METRICS}
        draft.report |= {"arm": arm, "seed": seed, "teacher": teacher, "means": means}
        draft.report["perplexity"] = math.exp(means["ce"])
    return store.get(work.stage, work.fingerprint)


def write_student(store, arm, seed, *, active=0.0, start=None, inputs=None):
    config = {"active": active} | ({"start": start} if start and arm != "kd" else {})
    config |= {"arm": arm, "seed": seed}
    work = Work("student", config, inputs or {"student": f"{arm} {seed}"})
    with store.publish(work) as draft:
        history = {
            "step": [0.0, 1.0],
            "ce": [4.0, 3.0],
            "active_share": active if isinstance(active, list) else [active, active],
        }
        draft.write_table("history.parquet", pa.table(history))
        draft.counts |= {"steps": 2, "trainable_parameters": 7_000_000}
        draft.report |= {"arm": arm, "seed": seed, "margin": 1.0, "last_step": {"ce": 3.0}}
    return store.get(work.stage, work.fingerprint)


def report_of(root, ce_by_arm, *, active=0.0, start=None):
    store = ArtifactStore(str(root))
    scores, students = [write_scores(store, "teacher", None, ce=2.0)], []
    for arm, by_seed in ce_by_arm.items():
        for seed, ce in enumerate(by_seed):
            scores.append(write_scores(store, arm, seed, ce=ce))
            students.append(write_student(store, arm, seed, active=active, start=start))
    return build_report(store, CONFIG, scores, students)


@pytest.fixture(scope="module")
def real(miniature, students):
    scores = [miniature.score("teacher")]
    scores += [miniature.score(arm, seed) for arm, seed in students]
    return build_report(miniature.store, CONFIG, scores, list(students.values()))


def test_the_table_has_a_row_for_each_arm_in_the_papers_order(real):
    table = real.record.report["table"]
    assert [row["arm"] for row in table] == ["teacher", "kd", "paper", "kd_mse"]
    assert [row["seeds"] for row in table] == [0, 2, 2, 2]
    assert [row["layers"] for row in table] == [4, 3, 3, 3]
    for row in table:
        assert {"CE", "perplexity", "KL to teacher", "top-1 agreement"} < set(row)


def test_means_and_deviations_over_seeds_are_those_of_the_scores(real, miniature):
    means = [miniature.score("paper", seed).record.report["means"]["ce"] for seed in (0, 1)]
    row, spread = (real.record.report[name][2] for name in ("means", "sd"))
    assert row["ce"] == pytest.approx(sum(means) / 2, abs=1e-6)
    assert spread["ce"] == pytest.approx(abs(means[0] - means[1]) / math.sqrt(2), abs=1e-6)


def test_every_arm_is_compared_with_kd_in_every_metric(real):
    report = real.record.report
    arms = [row["arms"] for row in report["comparison"]]
    assert arms == ["paper - kd"] * len(METRICS) + ["kd_mse - kd"] * len(METRICS)
    assert {row["arms"] for row in report["control"]} == {"paper - kd_mse"}
    kd, dskd = report["means"][1], report["means"][2]
    first = report["comparison"][0]
    assert first["metric"] == "CE"
    assert first["difference"] == pytest.approx(dskd["ce"] - kd["ce"], abs=2e-6)
    assert first["low"] <= first["difference"] <= first["high"]


def write_candidates(store, relations):
    work = Work("candidates", {"relations": relations}, {})
    with store.publish(work):
        pass
    return work.fingerprint


def test_a_recipe_of_the_user_s_is_compared_with_its_control_whatever_they_are_called(tmp_path):
    store = ArtifactStore(str(tmp_path))
    relations = {"order": "dictionary", "plain": "shuffled", "other": "shuffled"}
    scores, students = [], []
    for arm, by_seed in {
        "kd": (3.0, 3.0, 3.0),
        "order": (2.5, 2.51, 2.5),
        "plain": (2.6, 2.61, 2.605),
        "other": (2.7, 2.7, 2.7),
    }.items():
        for seed, ce in enumerate(by_seed):
            scores.append(write_scores(store, arm, seed, ce=ce))
            inputs = {"text": "another" if arm == "other" else "one"}
            if arm in relations:
                inputs["candidates"] = write_candidates(store, relations[arm])
            students.append(write_student(store, arm, seed, inputs=inputs))
    report = build_report(store, CONFIG, scores, students)
    assert {row["arms"] for row in report.record.report["control"]} == {"order - plain"}
    text = (report.folder() / "report.md").read_text("utf-8")
    # Differences -0.1, -0.1, -0.105; every window alike.
    assert "order is better than plain in CE (−0.1017)." in text
    assert "What the right relations add, compared with relations of other tokens." in text


def test_ce_by_frequency_is_compared_band_by_band(real, miniature):
    bands = {row["band"]: row for row in real.record.report["by_frequency"]}
    assert sum(row["positions"] for row in bands.values()) == real.record.counts["positions"]
    tables = {arm: [miniature.score(arm, s).table("windows.parquet") for s in (0, 1)]
              for arm in ("kd", "paper")}  # fmt: skip
    n = sum(tables["kd"][0]["n_11_to_100"].to_pylist())
    assert bands["11_to_100"]["positions"] == n > 0
    ce = {a: [sum(t["ce_11_to_100"].to_pylist()) / n for t in of] for a, of in tables.items()}
    found = {row["arms"]: row for row in bands["11_to_100"]["comparison"]}
    assert set(found) == {"paper - kd", "kd_mse - kd", "paper - kd_mse"}
    gaps = [a - b for a, b in zip(ce["paper"], ce["kd"], strict=True)]
    assert list(found["paper - kd"]["by_seed"].values()) == pytest.approx(gaps, abs=2e-6)
    assert found["paper - kd"]["difference"] == pytest.approx(sum(gaps) / 2, abs=2e-6)
    assert found["paper - kd"]["bootstrap_low"] <= found["paper - kd"]["difference"]
    assert bands["11_to_100"]["ce"]["kd"] == pytest.approx(sum(ce["kd"]) / 2, abs=2e-6)
    for name in ("report.md", "report.html"):
        text = (real.folder() / name).read_text("utf-8")
        assert "seen 11 to 100 times" in text
        assert f"{sum(ce['kd']) / 2:.4f}" in text


def test_scores_without_frequencies_are_reported_without_them(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0], "paper": [2.0]})
    assert "frequency" not in (report.folder() / "report.md").read_text("utf-8")


def test_the_page_stands_alone(real):
    page = (real.folder() / "report.html").read_text("utf-8")
    assert not re.search(r"https?://|<script|<link|@import", page)
    pictures = re.findall(r'src="([^,"]+),', page)
    assert pictures == ["data:image/png;base64"] * 4, "training, and three pairs of arms"
    assert (real.folder() / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_both_pages_show_the_same_figures(real):
    figures = {f"{row['CE']:.4f}" for row in real.record.report["table"]}
    for name in ("report.md", "report.html"):
        text = (real.folder() / name).read_text("utf-8")
        assert all(figure in text for figure in figures)
        assert real.record.inputs["student paper 0"] in text


def test_a_report_made_again_in_another_order_has_the_same_bytes(real, miniature, students):
    subjects = [("teacher", 0), *students]
    scores = [miniature.score(*subject) for subject in reversed(subjects)]
    students = list(reversed(students.values()))
    again = build_report(miniature.store, CONFIG, scores, students)
    assert again.fingerprint == real.fingerprint
    miniature.store.discard(again)
    shutil.rmtree(again.uri, ignore_errors=True)
    assert build_report(miniature.store, CONFIG, scores, students).record.content == (
        real.record.content
    )


def test_seconds_stand_in_the_record_and_not_in_the_page(real, students):
    costs = real.record.report["students"]
    assert costs[0]["seconds"] == students["kd", 0].record.seconds
    assert costs[0]["bytes"] == students["kd", 0].record.n_bytes
    assert [(c["arm"], c["seed"]) for c in costs[:3]] == [("kd", 0), ("kd", 1), ("paper", 0)]


def test_a_clear_difference_is_bold_and_called_better(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0, 3.01, 3.02], "paper": [2.9, 2.91, 2.925]})
    first = report.record.report["comparison"][0]
    # Differences -0.1, -0.1, -0.095; every window alike.
    assert first["difference"] == pytest.approx(-0.295 / 3, abs=1e-6)
    assert (first["excludes_zero"], first["verdict"]) == ("yes", "better")
    text = (report.folder() / "report.md").read_text("utf-8")
    assert "DSKD is better than KD in CE (−0.0983)" in text
    assert re.search(r"\| CE \(nats\) ↓ \| [^|*]+ \| [^|*]+ \| \*\*2\.9117 ± 0\.0126\*\* \|", text)


def test_nothing_is_bold_where_seeds_disagree(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0, 3.0], "paper": [2.8, 3.1]})
    text = (report.folder() / "report.md").read_text("utf-8")
    assert "**" not in text
    assert "There is no significant difference between any arm and KD" in text


def test_one_seed_calls_nothing_better(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0], "paper": [2.0]})
    assert report.record.report["comparison"][0]["verdict"] == "one seed"
    text = (report.folder() / "report.md").read_text("utf-8")
    assert "**" not in text
    assert "With one seed" in text


def test_the_page_says_which_students_started_with_the_gap_closed(tmp_path):
    plain = (report_of(tmp_path / "plain", {"kd": [3.0]}).folder() / "report.md").read_text()
    assert "so only the objective differs" in plain
    report = report_of(tmp_path / "fitted", {"kd": [3.0], "recommended": [2.0]}, start="fitted")
    text = (report.folder() / "report.md").read_text("utf-8")
    assert "In those of Recommended the gap between its layers is closed" in text
    assert "so only the objective and that start differ" in text


def test_a_margin_that_did_nothing_is_said_so(tmp_path):
    for active, words in (
        (0.0, "practically off"),
        (1.0, "always on"),
        (0.4, "40.0% of the negatives lay"),
    ):
        report = report_of(tmp_path / str(active), {"kd": [3.0], "paper": [2.0]}, active=active)
        assert words in (report.folder() / "report.md").read_text("utf-8")
        assert report.record.report["active_share"]["paper seed 0"] == active


def test_a_step_without_positions_of_l_sem_is_left_out_of_the_active_share(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0], "paper": [2.0]}, active=[None, 0.5])
    assert report.record.report["active_share"]["paper seed 0"] == 0.5
    assert "50.0% of the negatives lay inside" in (report.folder() / "report.md").read_text("utf-8")


def test_text_documents_are_drawn_where_there_are_enough(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0], "paper": [2.0]})
    assert report.record.report["clusters"] == "documents"
    assert "draw documents and seeds" in (report.folder() / "report.md").read_text("utf-8")


def test_scores_without_kd_are_refused(tmp_path):
    store = ArtifactStore(str(tmp_path))
    with pytest.raises(ArtifactError, match="none of arm 'kd'"):
        HeldoutScores([write_scores(store, "paper", 0)])


def test_a_model_that_comes_twice_is_refused(tmp_path):
    store = ArtifactStore(str(tmp_path))
    twice = [write_scores(store, "kd", 0), write_scores(store, "kd", 0, ce=2.0)]
    with pytest.raises(ArtifactError, match="'kd', seed 0"):
        HeldoutScores(twice)


def test_scores_of_other_windows_are_refused(tmp_path):
    store = ArtifactStore(str(tmp_path))
    others = [write_scores(store, "kd", 0), write_scores(store, "paper", 0, window_shift=1)]
    with pytest.raises(ArtifactError, match="different held-out windows"):
        HeldoutScores(others)


def test_only_seeds_of_both_arms_are_paired(tmp_path):
    report = report_of(tmp_path, {"kd": [3.0, 3.0, 3.0], "paper": [2.0, 2.5]})
    first = report.record.report["comparison"][0]
    assert first["seeds"] == 2
    assert first["difference"] == pytest.approx(-0.75)
    assert report.record.report["intervals"][0]["by_seed"] == {"0": -1.0, "1": -0.5}


def test_the_page_escapes_what_could_break_it(tmp_path):
    table = Table(("a|b",), ((Cell("<i>x|y"),),))
    page = Page("<b>", (Section("s", ("p & q",), table),))
    assert "<i>x|y" not in to_html(page, tmp_path)
    assert "&lt;i&gt;x|y" in to_html(page, tmp_path)
    assert "| a\\|b |" in to_markdown(page)


HOSTILE = "# x\n![](http://127.0.0.1:9/a.png) <img src=//127.0.0.1:9/b.png> [a](javascript:1) `|*"
AS_MARKDOWN = (
    r"\# x !\[\](http\://127.0.0.1:9/a.png) &lt;img src=//127.0.0.1:9/b.png&gt; "
    r"\[a\](javascript:1) \`\|\*"
)


def test_foreign_text_stays_text_wherever_it_stands_in_the_markdown():
    page = Page(
        HOSTILE,
        (
            Section(
                HOSTILE,
                (HOSTILE,),
                Table((HOSTILE,), ((Cell(HOSTILE),), (Cell(HOSTILE, True),)), HOSTILE),
                Picture("a.png", HOSTILE),
                (Excerpt(HOSTILE, ((HOSTILE, ""), (HOSTILE, "worse")), HOSTILE),),
            ),
        ),
        HOSTILE,
    )
    text = to_markdown(page)
    assert text.startswith(f"# {AS_MARKDOWN}\n\n{AS_MARKDOWN}\n\n## {AS_MARKDOWN}\n")
    assert f"| **{AS_MARKDOWN}** |" in text
    assert text.count(AS_MARKDOWN) == 14
    rest = text.replace(AS_MARKDOWN, "")
    assert not re.search(r"[<\[]|http", rest.replace("![](a.png)", ""))


def test_a_student_of_a_teacher_with_a_hostile_name_is_reported_as_text(tmp_path):
    scores = ArtifactStore(str(tmp_path))
    made = [write_scores(scores, "kd", 0, teacher=HOSTILE)]
    report = build_report(scores, CONFIG, made, [write_student(scores, "kd", 0)])
    title = (report.folder() / "report.md").read_text("utf-8").splitlines()[0]
    assert title == f"# Students of {AS_MARKDOWN.removeprefix(chr(92))}, compared"
    html = (report.folder() / "report.html").read_text("utf-8")
    assert "<img src=//" not in html
    assert "&lt;img src=//127.0.0.1:9/b.png&gt;" in html


def without(column, sums):
    def zeroed(self, arm, seeds, name):
        return sums(self, arm, seeds, name) * (name != column)

    return zeroed


def test_a_metric_that_no_position_has_is_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(
        HeldoutScores, "sum_clusters", without("n_with_negatives", HeldoutScores.sum_clusters)
    )
    report = report_of(tmp_path, {"kd": [3.0], "paper": [2.0]})
    assert "antonym MSE" not in {row["metric"] for row in report.record.report["comparison"]}
