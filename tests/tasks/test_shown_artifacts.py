"""What a stage shows."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dskd_core.store.artifacts import ArtifactStore, Work
from tasks import artifacts as module
from tasks.artifacts import (
    explore_command,
    found_or_made,
    link_of,
    show_page,
    show_terms,
    summary_line,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def artifact(tmp_path):
    store = ArtifactStore(str(tmp_path))
    work = Work("report", {}, {})
    with store.publish(work) as draft:
        draft.counts["n_tokens"] = 12_345
        draft.path("report.md").write_text("# Students\n\n![loss](loss.png) ![gone](gone.png)\n")
        draft.path("loss.png").write_bytes(b"\x89PNG")
    return store.find(work)


def test_an_artifact_older_than_the_work_was_found(artifact):
    now = datetime.now(UTC)
    assert found_or_made(artifact, now + HOUR) == "found"
    assert found_or_made(artifact, now - HOUR) == "made"


def test_the_log_line_tells_counts_size_and_place(artifact):
    line = summary_line(artifact, began=datetime.now(UTC) - HOUR)
    assert line.startswith("made 12,345 tokens; 52 B in 1:00 h at ")
    assert line.endswith(artifact.uri)


def test_a_folder_becomes_a_file_link_and_a_bucket_stays_one():
    assert link_of("/data/dskd/senses") == "file:///data/dskd/senses"
    assert link_of("s3://dskd/senses") == "s3://dskd/senses"


def test_the_report_carries_its_pictures_and_names_those_it_lacks(artifact, monkeypatch):
    shown = {}
    monkeypatch.setattr(
        module, "create_markdown_artifact", lambda text, **_: shown.update(text=text)
    )
    show_page("report", artifact, "report.md")
    assert "![loss](data:image/png;base64,iVBORw==)" in shown["text"]
    assert "![gone](gone.png)" in shown["text"]


@pytest.mark.parametrize(("n_steps", "n_rows"), [(1, 1), (25, 25), (26, 14), (1000, 26)])
def test_loss_terms_are_thinned_and_end_with_the_last_step(monkeypatch, n_steps, n_rows):
    shown = {}
    monkeypatch.setattr(module, "create_table_artifact", lambda rows, **_: shown.update(rows=rows))
    show_terms("student", [{"steps": i, "loss": 1 / 3} for i in range(n_steps)])
    rows = shown["rows"]
    assert len(rows) == n_rows
    assert rows[0] == {"steps": 0, "loss": 0.3333}
    assert rows[-1]["steps"] == n_steps - 1


def test_a_dictionary_says_how_to_open_it_and_nothing_else_does(artifact):
    assert explore_command(artifact) == ""
    dictionary = replace(artifact, record=replace(artifact.record, stage="dictionary"))
    root = dictionary.uri.rsplit("/", 2)[0]
    command = f"dskd explore {root} --dictionary {dictionary.fingerprint}"
    assert explore_command(dictionary) == command
    spaced = replace(dictionary, uri="/a b/dictionary/f")
    command = f"dskd explore '/a b' --dictionary {dictionary.fingerprint}"
    assert explore_command(spaced) == command
