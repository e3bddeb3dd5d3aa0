"""What is done, runs and is to come, against a clock that the test holds."""

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.planning.hours.estimate import RunEstimate
from dskd_core.progress import StageEstimate
from flows.view.board import Board
from flows.view.forecast import forecast, outcome
from flows.view.stages import Stage, stages_of, what_it_does
from tasks.listeners import Begun, Ended, Planned, Progressed

STAGES = [
    Stage("start"),
    Stage("teacher", branch="left"),
    Stage("lexicon", branch="right"),
    Stage("embeddings", is_sharded=True, branch="left"),
    Stage("students", 4),
    Stage("report"),
]
ESTIMATES = {
    "start": 10.0,
    "teacher": 20.0,
    "lexicon": 5.0,
    "embeddings": 60.0,
    "students": 100.0,
    "report": 5.0,
}


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def board(clock):
    made = Board(STAGES, clock=clock)
    made.expect([StageEstimate(stage, seconds) for stage, seconds in ESTIMATES.items()])
    return made


@pytest.fixture
def run(board, clock):
    """Return what runs a task for some seconds."""

    def run(stage, seconds, *, title=None, outcome="made", is_shard=False):
        board.hear(Begun(stage, title or stage, is_shard))
        clock.now += seconds
        counts = {"n_rows": 1234}
        board.hear(Ended(stage, title or stage, outcome, seconds, is_shard, counts))

    return run


def row(board, name):
    return next(row for row in board.rows() if row.name == name)


def test_before_it_begins_the_estimates_add_up(board):
    assert board.estimated_seconds == board.seconds_left() == 200.0


def test_the_start_is_done_when_the_first_task_begins(board, clock):
    board.note("loading Python packages")
    assert row(board, "start").details == ("loading Python packages",)
    clock.now = 12.0
    board.hear(Begun("teacher", "teacher"))
    assert (row(board, "start").status, row(board, "start").seconds) == ("done", 12.0)
    assert row(board, "teacher").status == "running"


def test_a_stage_that_is_done_says_how_it_came_about_and_what_it_holds(board, run):
    run("teacher", 20.0, outcome="found")
    assert row(board, "teacher").details == ("found", "1,234 rows")
    assert board.n_found == 1


def test_a_stage_of_shards_is_done_when_it_is_collected(board, run):
    board.hear(Planned("embeddings", 2))
    run("embeddings", 30.0, title="embeddings shard 0-of-2", is_shard=True)
    assert row(board, "embeddings").share == 0.5
    assert row(board, "embeddings").left == pytest.approx(30.0)
    run("embeddings", 30.0, title="embeddings shard 1-of-2", is_shard=True)
    assert row(board, "embeddings").status == "running"
    run("embeddings", 1.0)
    assert row(board, "embeddings").status == "done"
    assert row(board, "embeddings").seconds == 61.0


def test_what_runs_is_timed_by_its_own_rate(board, clock):
    board.hear(Begun("teacher", "teacher"))
    board.hear(Progressed("teacher", "teacher", 0, 100, "tensors"))
    clock.now += 10.0
    board.hear(Progressed("teacher", "teacher", 20, 100, "tensors"))
    assert row(board, "teacher").left == pytest.approx(40.0)  # 80 tensors at 2 a second
    assert row(board, "teacher").details == ("20 of 100 tensors", "2.0/s")


def test_students_tell_which_is_trained_and_how_well(board, run):
    board.hear(Planned("student", 4))
    run("student", 20.0, title="student kd seed 0")
    board.hear(Begun("student", "student dskd seed 0"))
    measures = {"lr": 0.1, "loss": 3.25, "ce": 2.5}
    board.hear(Progressed("student", "student dskd seed 0", 5, 10, "steps", measures))
    found = row(board, "students")
    assert found.details[:5] == ("2 of 4", "dskd seed 0", "5 of 10 steps", "ce 2.5", "loss 3.25")
    assert found.share == pytest.approx(1.5 / 4)
    assert found.left == pytest.approx(20.0 + 2 * 20.0)  # as long as the one that is done


def test_what_is_to_come_is_scaled_by_how_the_done_stages_went(board, run):
    run("teacher", 20.0)
    before = row(board, "students").left
    run("embeddings", 120.0)  # estimated 60
    assert before < row(board, "students").left < 200.0


def test_a_found_stage_says_nothing_about_how_fast_the_machine_is(board, run):
    run("embeddings", 0.1, outcome="found")
    assert row(board, "students").left == pytest.approx(100.0, rel=0.2)


def test_the_branch_beside_the_teacher_adds_no_more_than_it_was_estimated_to(board, clock):
    for stage in ("teacher", "lexicon"):
        board.hear(Begun(stage, stage))
    board.hear(Progressed("lexicon", "lexicon", 0, 100, "rows"))
    clock.now += 10.0
    board.hear(Progressed("lexicon", "lexicon", 10, 100, "rows"))
    assert row(board, "lexicon").left == pytest.approx(90.0)
    assert board.seconds_left() == pytest.approx(10 + 5 + 60 + 100 + 5, rel=0.2)


def test_a_task_that_fails_and_is_tried_again_goes_on(board, run):
    run("teacher", 5.0, outcome="failed")
    assert row(board, "teacher").status == "failed"
    run("teacher", 5.0)
    assert row(board, "teacher").status == "done"


def test_a_stage_of_which_a_shard_failed_for_good_has_failed_and_names_it(board, run):
    board.hear(Planned("embeddings", 2))
    run("embeddings", 5.0, title="embeddings shard 0-of-2", outcome="failed", is_shard=True)
    run("embeddings", 5.0, title="embeddings shard 1-of-2", is_shard=True)
    assert row(board, "embeddings").status == "failed"
    assert "failed: embeddings shard 0-of-2" in row(board, "embeddings").details


def test_a_student_that_was_told_to_end_is_no_failure(board, run):
    board.hear(Planned("students", 2))
    run("students", 5.0, title="student kd seed 0")
    run("students", 5.0, title="student kd seed 1", outcome="stopped")
    assert row(board, "students").status == "stopped"
    assert not any("failed" in detail for detail in row(board, "students").details)


def test_what_runs_when_the_run_ends_was_stopped(board, clock):
    board.hear(Begun("teacher", "teacher"))
    clock.now += 3.0
    board.end()
    clock.now += 60.0
    assert (row(board, "teacher").status, board.seconds) == ("stopped", 3.0)


def test_without_estimates_the_time_left_is_unknown(clock):
    board = Board(STAGES, clock=clock)
    board.expect([])
    assert board.estimated_seconds is None
    assert board.seconds_left() is None


def test_a_stage_nobody_listed_gets_a_row_when_it_runs(board):
    board.hear(Begun("hub", "push"))
    assert row(board, "hub").status == "running"


def test_the_stages_are_those_of_the_settings():
    names = [stage.name for stage in stages_of(PipelineConfig())]
    assert names[:2] == ["start", "teacher"]
    assert names[-5:] == ["candidates", "students", "scores", "continuations", "report"]
    assert "benchmarks" not in names
    assert next(s for s in stages_of(PipelineConfig()) if s.name == "students").n_tasks == 9
    assert dict(what_it_does(PipelineConfig()))["students"].startswith("9: arms kd, paper, kd_mse")


def test_no_estimate_stands_in_the_way_of_a_run(monkeypatch, caplog):
    def refuse(config, *, first_start):
        raise OSError("no network")

    monkeypatch.setattr("dskd_core.planning.hours.estimate.estimate_run", refuse)
    assert forecast(PipelineConfig()) == ([], [])
    assert "no network" in caplog.text


def test_the_estimate_is_that_of_the_plan_with_what_it_leaves_out(monkeypatch):
    stages = (StageEstimate("teacher", 20.0),)
    monkeypatch.setattr(
        "dskd_core.planning.hours.estimate.estimate_run",
        lambda config, *, first_start: RunEstimate(stages, ("Left out: benchmarks.",)),
    )
    assert forecast(PipelineConfig()) == (list(stages), ["Left out: benchmarks."])


def test_the_start_of_prefect_is_the_first_without_a_database_and_without_a_server(
    tmp_path, monkeypatch
):
    asked = []

    def noted(config, *, first_start):
        asked.append(first_start)
        return RunEstimate(())

    monkeypatch.setattr("dskd_core.planning.hours.estimate.estimate_run", noted)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    forecast(PipelineConfig())
    (tmp_path / "prefect.db").touch()
    forecast(PipelineConfig())
    (tmp_path / "prefect.db").unlink()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:4200/api")
    forecast(PipelineConfig())
    assert asked == [True, False, False]


def test_the_outcome_is_held_against_the_estimate():
    assert outcome(680.0, 723.0) == "Estimated 11:20 min, took 12:03 min (6 % more)."
    assert outcome(100.0, 80.0, 1) == (
        "Estimated 1:40 min, took 1:20 min (20 % less); 1 stage was found done."
    )
