"""Places that take no files. The system's answers are given where permissions do not bind root."""

import errno
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from dskd_core.config import PipelineConfig
from dskd_core.errors import CapacityError, ConfigError
from dskd_core.store import places
from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.store.trial import check_can_be_read, check_takes_files
from flows.plan import plan
from flows.tidy import tidy
from tests.weed import needs_weed, serving


def test_a_place_that_takes_files_is_left_as_it_was(tmp_path):
    check_takes_files(str(tmp_path / "a" / "b"), "root_uri")
    check_takes_files(str(tmp_path), "root_uri")
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_is_only_looked_at_need_not_take_files_but_must_be_a_folder(
    tmp_path, monkeypatch
):
    check_can_be_read(str(tmp_path / "a" / "b"), "root_uri")
    check_can_be_read(str(tmp_path), "root_uri")
    (tmp_path / "file").write_text("")
    for place in ("file", "file/artifacts"):
        with pytest.raises(ConfigError, match=rf"{tmp_path}/file is a file and not a folder; have"):
            check_can_be_read(str(tmp_path / place), "root_uri")
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.R_OK)
    check_can_be_read(str(tmp_path / "a"), "root_uri")  # a folder above it need not be listed
    with pytest.raises(ConfigError, match=rf"{tmp_path} may not be read and entered by this user"):
        check_can_be_read(str(tmp_path), "root_uri")


@pytest.mark.parametrize("flow", [plan, tidy])
def test_a_plan_and_a_sweep_of_a_root_that_is_a_file_are_refused_before_a_task(tmp_path, flow):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"root_uri .*file is a file and not a folder"):
        flow.fn(PipelineConfig(root_uri=str(tmp_path / "file")))


@pytest.mark.parametrize("below", ["file", "file/artifacts", "file/a/b", "link", "link/artifacts"])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, below):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(ConfigError, match=rf"root_uri .*{tmp_path}/file is a file and not a fold"):
        check_takes_files(str(tmp_path / below), "root_uri")


def test_a_folder_of_the_system_takes_no_artifacts():
    with pytest.raises(ConfigError, match=r"PREFECT_HOME '/proc/1/x' takes no files: /proc/1 "):
        check_takes_files("/proc/1/x", "PREFECT_HOME")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, r"may not be read, written and entered by this user \(number \d+\); have"),
        (errno.EPERM, "chmod"),
        (errno.EROFS, "mounted read-only; mount it for writing or name another place"),
        (errno.EIO, r"refuses them \(Input/output error\); name another place"),
    ],
)
@pytest.mark.parametrize("call", ["mkdir", "fsync", "rename"])
def test_what_the_system_refuses_on_the_way_is_said_with_its_cure(
    tmp_path, monkeypatch, number, words, call
):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*{"rename": (Path, "rename")}.get(call, (os, call)), refuse)
    with pytest.raises(ConfigError, match=words) as refused:
        check_takes_files(str(tmp_path / "artifacts"), "root_uri")
    assert f"root_uri '{tmp_path}/artifacts' takes no files: {tmp_path} " in str(refused.value)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found_by_writing(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(
        CapacityError, match=r"its disk or quota is full .* free some of it or name"
    ):
        check_takes_files(str(tmp_path), "root_uri")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_may_not_be_entered_is_named(tmp_path):
    """In a process that gave up root's own permissions, where this is root's."""
    shut = tmp_path / "shut"
    (shut / "artifacts").mkdir(parents=True)
    shut.chmod(0o644)
    child = os.fork()
    if not child:
        code = 1
        try:
            if os.getuid() == 0:
                os.setgroups([])
                tmp_path.chmod(0o777)
                for parent in list(tmp_path.parents)[:3]:
                    parent.chmod(parent.stat().st_mode | 0o711) if parent != Path("/tmp") else None
                os.setuid(65534)
            check_takes_files(str(shut / "artifacts" / "x"), "root_uri")
        except ConfigError as error:
            code = 0 if f"{shut} may not be read, written and entered" in str(error) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_stage_whose_folder_takes_no_files_is_refused_and_not_tried_again(tmp_path):
    (tmp_path / "senses").write_text("")
    store = ArtifactStore(str(tmp_path))
    with pytest.raises(ConfigError, match=f"{tmp_path}/senses is a file and not a folder"):
        store.publish(Work("senses", {}, {})).__enter__()


@needs_weed
def test_an_object_store_that_says_no_is_refused_and_one_that_is_away_is_not(tmp_path, monkeypatch):
    with serving(tmp_path) as weed:
        place = f"{weed.uri}/artifacts"
        check_takes_files(place, "root_uri")
        fs, _ = places.filesystem(weed.uri)
        assert fs.find(weed.uri) == []
        for error in (PermissionError("Access Denied"), FileNotFoundError("no bucket")):
            monkeypatch.setattr(fs, "pipe_file", Mock(side_effect=error), raising=False)
            with pytest.raises(ConfigError, match=rf"'{place}' takes no objects .*{error}\); see"):
                check_takes_files(place, "root_uri")
        monkeypatch.setattr(fs, "pipe_file", Mock(side_effect=OSError("away")), raising=False)
        check_takes_files(place, "root_uri")
