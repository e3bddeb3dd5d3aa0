"""What differs between records, in words; records are made by hand."""

from datetime import UTC, datetime

from dskd_core.store.artifacts import Record
from dskd_core.store.rebuild_reason import FIRST, RAISED, differences, reason

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def record(fingerprint="a", hour=9, inputs=None, **config) -> Record:
    return Record(
        stage="senses",
        fingerprint=fingerprint,
        config=config,
        inputs=inputs or {"embeddings": "e1"},
        counts={},
        report={},
        files={},
        seconds=1.0,
        created_at=f"2026-11-22T{hour:02d}:00:00.000+00:00",
        versions={},
    )


def test_a_setting_is_shown_with_both_values_and_an_input_by_name():
    before = record(n_senses=5, seed=0)
    after = record("b", n_senses=10, seed=0, inputs={"embeddings": "e2"})
    assert differences(before, after) == ["n_senses 5 -> 10", "embeddings changed"]


def test_settings_and_inputs_that_come_and_go_are_told():
    before = record(tags=["slang"], inputs={"0-roget": "r", "1-moby": "m"})
    after = record("b", margin="calibrated", inputs={"0-roget": "r", "1-wiktextract": "w"})
    assert differences(before, after) == [
        "margin unset -> calibrated",
        'tags ["slang"] -> unset',
        "1-wiktextract added",
        "1-moby removed",
    ]


def test_nested_settings_have_dotted_names_and_long_values_are_cut():
    before = record(weights={"sure": 1.0, "likely": 0.5}, text="short")
    after = record("b", weights={"sure": 1.0, "likely": 0.25}, text="x" * 100)
    assert differences(before, after) == [
        "weights.likely 0.5 -> 0.25",
        f"text short -> {'x' * 57}...",
    ]


def test_the_nearest_earlier_artifact_is_the_reason_not_the_newest():
    near = record("near", hour=8, n_senses=5, seed=0)
    newest = record("newest", hour=11, n_senses=3, seed=7)
    made = record("made", hour=12, n_senses=10, seed=0)
    assert reason(made, [near, newest, made], before=NOON) == "n_senses 5 -> 10"


def test_of_equally_near_ones_the_newest_is_the_reason():
    old, new = record("old", hour=8, n_senses=5), record("new", hour=9, n_senses=7)
    made = record("made", hour=13, n_senses=10)
    assert reason(made, [old, new], before=NOON) == "n_senses 7 -> 10"


def test_siblings_of_the_same_run_are_no_reason():
    sibling = record("sibling", hour=13, seed=0)
    made = record("made", hour=14, seed=1)
    assert reason(made, [sibling, made], before=NOON) == FIRST


def test_equal_settings_and_inputs_mean_that_the_stage_was_changed():
    assert reason(record("made", hour=13), [record("old")], before=NOON) == RAISED
