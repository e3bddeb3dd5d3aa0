"""What is drawn for given states, when a line comes without a terminal, and where lines go."""

import io
import logging
import os
import re
import subprocess
import sys
from datetime import datetime
from types import SimpleNamespace

import pytest
from rich.console import Console

from dskd_core.config import PipelineConfig
from dskd_core.errors import ConfigError
from dskd_core.progress import StageEstimate
from flows.view import run_log, watch
from flows.view.frame import frame
from flows.view.heartbeat import QUIET_SECONDS, Heartbeat, Overheard
from flows.view.live_view import AboveView
from flows.view.stage_progress import Row

ROWS = [
    Row("start", "done", seconds=14.0),
    Row("teacher", "done", ("made", "134,515,008 parameters"), seconds=17.0),
    Row("lexicon", "running", ("12,000 of 50,000 rows",), 0.24, 5.0, 15.0),
    Row("embeddings", "running", ("shard 2 of 4", "100 of 400 tokens", "434.0/s"), 0.4, 80.0, 75.0),
    Row("students", "to come", ("9",), left=240.0),
    Row("report", "to come", left=4.0),
]
FOOT = ["1:20 min gone, about 8:10 min left of 9:30 min", "all lines: work/logs/run.log"]


def drawn(width, height=24, **named):
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    console.print(frame(ROWS, FOOT, width=width, height=height, **named))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [80, 120, 200])
def test_every_stage_is_a_line_and_the_time_is_below(width):
    heading, *lines = drawn(width)
    assert heading.split() == ["stage", "took", "left"]
    assert len(lines) == len(ROWS) + len(FOOT) + (width == 80), "80 columns need a second for one"
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    for said in ("made, 134,515,008 parameters", "shard 2 of 4", "~ 1:15 min", "~ 4:00 min"):
        assert said in text
    assert "8:10 min left" in lines[-2]
    assert "run.log" in lines[-1]


def test_what_does_not_fit_beside_a_bar_is_said_below_it():
    narrow = [line.strip() for line in drawn(80) if "434.0/s" in line]
    assert narrow == ["100 of 400 tokens, 434.0/s"]
    assert ["embeddings" in line for line in drawn(120) if "434.0/s" in line] == [True]


def test_in_few_lines_what_is_done_and_what_is_to_come_is_one_row_each():
    lines = drawn(80, height=8)
    assert len(lines) == 8
    assert "2 stages" in lines[1]
    assert [name for name in ("lexicon", "embeddings") if name in "".join(lines)] == [
        "lexicon",
        "embeddings",
    ]
    assert "students, report" in "".join(lines)


def test_a_terminal_without_unicode_gets_plain_characters():
    assert "\n".join(drawn(80, is_unicode=False)).isascii()


@pytest.fixture
def beat():
    class Held:
        now = 0.0
        said = 0

        def say(self):
            self.said += 1

    held = Held()
    held.heart = Heartbeat(held.say, clock=lambda: held.now)
    return held


def test_a_line_comes_after_silence_and_not_before(beat):
    for _ in range(60):
        beat.now += 1.0
        beat.heart.beat()
    assert beat.said == 60 / QUIET_SECONDS
    assert QUIET_SECONDS + QUIET_SECONDS / 10 < 15


def test_a_line_that_is_logged_breaks_the_silence(beat):
    record = logging.makeLogRecord({"msg": "senses: made"})
    for _ in range(60):
        beat.now += 1.0
        Overheard(beat.heart).emit(record)
        beat.heart.beat()
    assert beat.said == 0


def test_the_first_line_of_a_warning_is_shown_above_the_view():
    shown = []
    view = SimpleNamespace(print_above=lambda text: shown.append(text.plain), stop=lambda: None)
    handler = AboveView(view)
    logger = logging.Logger("dskd")
    logger.addHandler(handler)
    logger.info("not shown")
    logger.warning("memory is %s\nTraceback", "short")
    assert [line[9:] for line in shown] == ["warning: memory is short"]


def test_the_log_is_named_by_the_time_and_lies_next_to_the_home_of_prefect(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "work/prefect"))
    log = run_log.new_log(datetime(2026, 1, 2, 3, 4, 5))
    assert log == tmp_path / "work/logs/run-20260102-030405.log"
    assert log.is_file()


def test_two_runs_that_begin_in_one_second_have_a_log_each(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "work/prefect"))
    now = datetime(2026, 1, 2, 3, 4, 5)
    assert run_log.new_log(now) != run_log.new_log(now)


def test_a_log_that_cannot_be_written_is_refused_in_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "logs").write_text("a file, no folder")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    with pytest.raises(ConfigError, match=r"logs/run-.* cannot be written .*; set PREFECT_HOME"):
        run_log.new_log(datetime.now())


CAPTURED = """
import os, subprocess, sys
from pathlib import Path
from flows.view.run_log import lines_to
with lines_to(Path(sys.argv[1])) as terminal:
    print("printed")
    print("warned", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('of a child')"], check=True)
    terminal.write("on the screen")
print("afterwards")
"""


def test_meanwhile_all_lines_go_to_the_file_and_only_the_view_to_the_screen(tmp_path):
    log = tmp_path / "run.log"
    done = subprocess.run(
        [sys.executable, "-c", CAPTURED, str(log)], capture_output=True, text=True, check=True
    )
    assert re.sub(r"\s", "", done.stdout) == "onthescreenafterwards"
    assert not done.stderr
    assert {"printed", "warned", "of a child"} <= set(log.read_text().splitlines())


BARS = """
from flows.view.run_log import quiet_bars
quiet_bars()
import huggingface_hub.utils, tqdm, tqdm.auto
for bar in (tqdm.tqdm, tqdm.auto.tqdm, huggingface_hub.utils.tqdm):
    list(bar(range(3), desc="Converting and de-quantizing GGUF tensors"))
print("done")
"""


def test_bars_of_other_libraries_are_off():
    environment = {n: v for n, v in os.environ.items() if "TQDM" not in n and "DISABLE" not in n}
    done = subprocess.run(
        [sys.executable, "-c", BARS], capture_output=True, check=True, env=environment
    )
    assert done.stdout + done.stderr == b"done\n"


def test_without_a_terminal_the_plan_the_log_and_the_outcome_are_lines(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    for name in (
        "TQDM_DISABLE",
        "HF_HUB_DISABLE_PROGRESS_BARS",
        "HF_DATASETS_DISABLE_PROGRESS_BARS",
    ):
        monkeypatch.setenv(name, "1")  # so that what the run sets does not outlive the test
    monkeypatch.setattr(watch, "is_terminal", lambda: False)
    monkeypatch.setattr(watch, "forecast", lambda _: ([StageEstimate("teacher", 680.0)], []))
    with watch.watched(PipelineConfig(), "p.yaml") as watched:
        watched.hear_logs()
        watched.estimate(PipelineConfig())
        logging.getLogger("dskd").warning("memory is short")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dskd: p.yaml"
    assert any(line.split() == ["all", "lines", "in", str(watched.log)] for line in lines)
    assert "  time       about 11:20 min on this machine" in lines
    assert lines[-1] == f"All lines of this run: {watched.log}"
    assert watched.outcome().startswith("Estimated 11:20 min, took 0 s (100 % less)")
    written = watched.log.read_text()
    assert "\r" not in written
    assert all(said in written for said in ("dskd: p.yaml", "memory is short", "about 11:20 min"))
