"""docs/python.md runs as it stands, on the root of a miniature."""

import re
from pathlib import Path

import numpy as np
import pytest

import dskd_core
from dskd_core.dictionary.entries import look_up
from dskd_core.errors import DataError

PAGE = Path(__file__).parents[2] / "docs/python.md"


def test_the_page_runs_from_top_to_bottom(miniature, tmp_path, monkeypatch, capsys):
    miniature.dictionary()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher").symlink_to(miniature.config.teacher.source)
    parameters = "deployments/parameters/smollm2-135m.yaml"
    (tmp_path / parameters).parent.mkdir(parents=True)
    (tmp_path / parameters).write_text("teacher: {dtype: float32, device: cpu}\n")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/artifacts").symlink_to(miniature.config.root_uri)
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    names: dict = {}
    exec(compile(code, str(PAGE), "exec"), names)
    assert {"dark", "heavy"} <= set(names["entry"].antonyms)
    assert "torch.Size([2, 12, 32])" in capsys.readouterr().out
    assert float(names["student_states"].grad.abs().sum()) > 0


def test_all_that_is_exported_is_there_and_stands_on_the_page():
    for name in dskd_core.__all__:
        assert getattr(dskd_core, name).__doc__, name
        assert f"`{name}`" in PAGE.read_text("utf-8"), name


def test_an_entry_has_the_rows_of_its_word_and_an_unknown_word_is_refused(miniature):
    artifact = miniature.dictionary()
    words = {w["word"]: w for w in artifact.table("words.parquet").to_pylist()}
    entry, row = look_up(miniature.store, artifact, "Light"), words["light"]
    rows = artifact.group("dictionary.zarr")["rows"][row["row_start"] : row["row_stop"]]
    np.testing.assert_array_equal(entry.senses, rows)
    with pytest.raises(DataError, match=r"no 'zyzzyva'.*try another"):
        look_up(miniature.store, artifact, "zyzzyva")
