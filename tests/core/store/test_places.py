import hashlib
import os

import pytest

from dskd_core import interruption
from dskd_core.errors import ConfigError
from dskd_core.store import places


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc", ".hidden", "a b", "~"])
def test_a_name_that_could_climb_out_of_its_folder_is_refused(name):
    with pytest.raises(ConfigError, match="is not a plain name"):
        places.join("/root", name)


@pytest.mark.parametrize("path", ["../x", "a/../b", "a//b", "/a", "a/"])
def test_a_relative_path_that_could_climb_is_refused(path):
    with pytest.raises(ConfigError):
        places.join_path("/root", path)


def test_a_root_is_made_absolute_and_an_unknown_scheme_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert places.check_root("work") == str(tmp_path / "work")
    assert places.check_root("s3://bucket/root/") == "s3://bucket/root"
    with pytest.raises(ConfigError, match=r"'ftp://host'.*'ftp'.*give a folder"):
        places.check_root("ftp://host")


def test_files_are_listed_hashed_and_found(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/c").write_bytes(b"x" * (3 << 20))
    (tmp_path / "a").write_bytes(b"")
    assert places.files_under(tmp_path) == ["a", "b/c"]
    assert places.list_names(str(tmp_path)) == ["a", "b"]
    assert places.list_names(str(tmp_path / "absent")) == []
    assert places.exists(str(tmp_path / "a"))
    assert not places.exists(str(tmp_path / "z"))
    assert places.sha256_of_file(tmp_path / "b/c") == hashlib.sha256(b"x" * (3 << 20)).hexdigest()


def test_the_commit_marker_is_uploaded_last(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "a").mkdir(parents=True)
    target.joinpath("a").mkdir(parents=True)
    for name in ("a/z", "b", "record.json"):
        (source / name).write_text(name)
    put = []

    class Watched:
        def put_file(self, local, remote):
            put.append(remote)

        def invalidate_cache(self):
            pass

        def find(self, path):
            return put

    original = places.filesystem
    places.filesystem = lambda uri: (Watched(), uri)
    try:
        places.upload_folder(source, "s3://b/x", last="record.json")
    finally:
        places.filesystem = original
    assert put == ["s3://b/x/a/z", "s3://b/x/b", "s3://b/x/record.json"]


def test_hashing_a_file_of_holes_ends_when_the_run_is_asked_to_stop(tmp_path):
    path = tmp_path / "holes"
    path.touch()
    os.truncate(path, 1 << 40)
    interruption.request()
    try:
        with pytest.raises(interruption.Interrupted):
            places.sha256_of_file(path)
        os.truncate(path, 3)
        assert places.described(tmp_path, flushed=False)["holes"]["bytes"] == 3
    finally:
        interruption.clear()
