"""The examples run as scripts: on a miniature, and on the sample where `make run` left it."""

import ast
import importlib
import math
import os
import resource
import runpy
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parents[2]
FOLDER = HERE / "examples"
SAMPLE = HERE / "work/artifacts"
NEEDS_TRL = pytest.mark.skipif(
    find_spec("trl") is None, reason="trl is an extra: pip install '.[benchmarks]'"
)
SCRIPTS = [
    "plain_loop.py",
    "trainer.py",
    pytest.param("trl_gkd.py", marks=NEEDS_TRL),
]


def rows(printed: str) -> list[dict[str, float]]:
    """Return the terms of every step that a script printed."""
    found = [line[line.index("{") :] for line in printed.splitlines() if "'positive'" in line]
    said = [ast.literal_eval(line) for line in found]
    return [
        {k: float(v) for k, v in row.items()}
        for row in said
        if ("loss" in row and "ce" in row) or "learning_rate" in row
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_trains_on_the_root_of_a_miniature(
    miniature, script, monkeypatch, capsys, tmp_path
):
    miniature.dictionary()
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(sys, "argv", [script, miniature.config.root_uri, "--steps", "12"])
    runpy.run_path(str(FOLDER / script), run_name="__main__")
    steps = rows(capsys.readouterr().out)
    assert len(steps) == 12
    assert all(math.isfinite(value) for row in steps for value in row.values())
    first, last = steps[:4], steps[-4:]
    assert sum(row["loss"] for row in last) < sum(row["loss"] for row in first)
    assert all(row["positive"] > 0 for row in steps)


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_an_example_trains_on_the_sample_dictionary_in_two_minutes_of_a_core(script):
    if not (SAMPLE / "dictionary").exists():
        pytest.skip("work/artifacts has no dictionary; make run leaves one")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, FOLDER / script, SAMPLE, "--steps", "3", "--batch", "2"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(rows(done.stdout)) == 3
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 120


def test_labels_are_shifted_and_states_are_those_the_head_reads(miniature, monkeypatch):
    miniature.dictionary()
    monkeypatch.syspath_prepend(str(FOLDER))
    start = importlib.import_module("start")
    labels = torch.tensor([[5, 6, 7, -100]])
    assert start.next_tokens(labels).tolist() == [[6, 7, -100, -100]]
    opened = start.open_root(miniature.config.root_uri)
    batch = start.collate(opened.rows[:2])
    teacher, student = opened.teacher, start.half_of(opened.teacher, 1)
    states = teacher.states(batch["input_ids"])
    logits = teacher.model(**batch).logits
    torch.testing.assert_close(states @ teacher.head.T, logits[..., : teacher.n_tokens])
    outputs = student(**batch, output_hidden_states=True)
    said = outputs.hidden_states[-1] @ student.get_output_embeddings().weight.T
    torch.testing.assert_close(said, outputs.logits)
    trained = {name for name, weight in student.named_parameters() if weight.requires_grad}
    assert all("layers.1." in name or "norm" in name for name in trained)
    assert len(teacher.layers) == 4, "the teacher's own layers are left alone"
    assert not any(weight.requires_grad for weight in teacher.model.parameters())
