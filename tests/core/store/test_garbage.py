"""What is swept, and above all what is not. Ages are set by hand, the clock is an argument."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from dskd_core.errors import ConfigError
from dskd_core.store import places as store_places
from dskd_core.store.artifacts import RECORD, ArtifactStore, Work
from dskd_core.store.garbage import find_garbage, sweep
from dskd_core.store.parquet import database

HOUR = 3600.0
WORK = Work("senses", {"k": 5}, {})
NAME = "0123456789abcdef"
LONG_AGO = time.time() - 100 * HOUR


@pytest.fixture
def store(tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    store = ArtifactStore(str(tmp_path / "root"))
    with store.publish(WORK) as draft:
        draft.write_json("x.json", 1)
    return store


def left(store, name: str, *, hours: float = 30.0, files: int = 2) -> Path:
    """Write a folder of files that were last written so many hours ago."""
    folder = Path(store.root_uri) / name
    (folder / "a").mkdir(parents=True)
    for number in range(files):
        (folder / "a" / str(number)).write_bytes(b"x" * 10)
    aged(folder, hours)
    return folder


def aged(folder: Path, hours: float) -> None:
    moment = time.time() - hours * HOUR
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (moment, moment))


def places(found) -> list[str]:
    return [garbage.uri for garbage in found]


def test_drafts_and_half_deleted_folders_are_found_counted_and_deleted(store):
    draft = left(store, f"senses/.partial-{NAME}-89abcdef")
    half = left(store, f"words/{NAME}", files=3)
    found = find_garbage(store.root_uri, older_than_hours=24)
    assert [(g.kind, g.uri, g.n_files, g.n_bytes) for g in found] == [
        ("draft", str(draft), 2, 20),
        ("half", str(half), 3, 30),
    ]
    assert sweep(found) == found
    assert not draft.exists()
    assert not half.exists()
    assert store.find(WORK) is not None


def test_a_published_artifact_is_never_found_however_old(store):
    aged(Path(store.root_uri), 10_000)
    assert find_garbage(store.root_uri, older_than_hours=1) == []


@pytest.mark.parametrize("newest", ["file", "folder"])
def test_a_draft_in_which_anything_is_young_is_left_alone(store, newest):
    draft = left(store, f"senses/.partial-{NAME}-89abcdef", hours=1000)
    recent = time.time() - 23 * HOUR
    os.utime(draft / "a" / "0" if newest == "file" else draft, (recent, recent))
    assert find_garbage(store.root_uri, older_than_hours=24) == []
    assert places(find_garbage(store.root_uri, older_than_hours=22)) == [str(draft)]


@pytest.mark.parametrize(
    "name",
    [
        "senses/notes",
        f"senses/{NAME}0",
        "senses/.partial-x",
        ".partial-0123456789abcdef-89abcdef",
        f"Documents/{NAME}",
        f"a/b/{NAME}",
        f".git/{NAME}",
    ],
)
def test_what_dskd_does_not_name_is_left_alone(store, name):
    folder = left(store, name, hours=1000)
    assert find_garbage(store.root_uri, older_than_hours=1) == []
    assert folder.exists()


def test_links_are_neither_followed_nor_deleted(store, tmp_path):
    other = ArtifactStore(str(tmp_path / "other"))
    target = left(other, f"senses/.partial-{NAME}-89abcdef", hours=1000)
    stage = Path(store.root_uri) / "senses"
    (stage / f".partial-{NAME}-00000000").symlink_to(target)
    (Path(store.root_uri) / "words").symlink_to(target.parent)
    assert find_garbage(store.root_uri, older_than_hours=1) == []
    draft = left(store, f"senses/.partial-{NAME}-11111111")
    (draft / "link").symlink_to(target)
    os.utime(draft / "link", (LONG_AGO, LONG_AGO), follow_symlinks=False)
    aged(draft / "a", 30)
    os.utime(draft, (LONG_AGO, LONG_AGO))
    assert len(sweep(find_garbage(store.root_uri, older_than_hours=1))) == 1
    assert (target / "a" / "0").exists()


def test_what_is_published_or_written_to_meanwhile_is_kept(store):
    published = left(store, f"words/{NAME}")
    written = left(store, f"senses/.partial-{NAME}-89abcdef")
    gone = left(store, f"senses/.partial-{NAME}-00000000")
    found = find_garbage(store.root_uri, older_than_hours=24)
    assert len(found) == 3
    (published / RECORD).write_text("{}")
    aged(published, 30)
    (written / "a" / "0").write_bytes(b"more")
    (gone / "a" / "0").unlink()
    (gone / "a" / "1").unlink()
    (gone / "a").rmdir()
    gone.rmdir()
    assert sweep(found) == []
    assert (published / "a" / "0").exists()
    assert (written / "a" / "0").exists()


def test_a_live_draft_survives_a_sweep_and_is_published(store):
    work = Work("senses", {"k": 7}, {})
    with store.publish(work) as draft:
        draft.write_json("x.json", 1)
        assert sweep(find_garbage(store.root_uri, older_than_hours=1)) == []
    assert store.find(work) is not None


def test_drafts_of_uploads_in_the_temporary_folder_are_swept_and_nothing_else(store, tmp_path):
    ours = tmp_path / "tmp" / f"dskd-draft-embeddings-shard-{NAME}-ab_c1234"
    others = [tmp_path / "tmp" / name for name in ("dskd-draft-x", "dskd-senses-abc", "pip-1")]
    for folder in (ours, *others):
        folder.mkdir()
        aged(folder, 30)
    found = find_garbage(store.root_uri, older_than_hours=24)
    assert [(g.kind, g.uri) for g in found] == [("local", str(ours))]
    sweep(found)
    assert sorted(p.name for p in (tmp_path / "tmp").iterdir()) == sorted(p.name for p in others)


def test_what_a_killed_query_spilled_is_swept(store):
    with database() as connection:
        [(name,)] = connection.sql("SELECT current_setting('temp_directory')").fetchall()
        assert Path(name).parent == Path(tempfile.gettempdir())
        aged(Path(name), 30)
        assert places(find_garbage(store.root_uri, older_than_hours=24)) == [name]


def test_the_draft_of_an_upload_has_the_name_that_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = ArtifactStore("s3://bucket/root")._draft_folder(WORK)
    aged(folder, 30)
    assert places(find_garbage(str(tmp_path / "root"), older_than_hours=24)) == [str(folder)]


@pytest.fixture
def paused(store):
    """A writer that has written all of its draft and nothing for thirty hours, and the draft."""
    writer = store.publish(Work("senses", {"k": 9}, {}))
    draft = writer.__enter__()
    draft.write_group("x.zarr").create_array("v", data=np.arange(1, 7), chunks=(1,))
    draft.write_json("x.json", 1)
    aged(draft.folder, 30)
    return writer, draft


def by_tidy(store) -> None:
    [found] = find_garbage(store.root_uri, older_than_hours=24)
    sweep([found])


def by_the_next_writer(store) -> None:
    aged(next((Path(store.root_uri) / "senses").glob(".partial-*")), 24 * 8)
    with store.publish(Work("senses", {"k": 9}, {})):
        raise KeyboardInterrupt


@pytest.mark.parametrize("swept", [by_tidy, by_the_next_writer])
def test_a_paused_writer_that_goes_on_while_it_is_swept_says_so(store, paused, monkeypatch, swept):
    writer, _ = paused
    remove, said = shutil.rmtree, []

    def removed(folder, *args, **options):
        if not said:
            said.append(None)
            with pytest.raises(OSError, match=r"was swept while .* nothing is published; run") as e:
                writer.__exit__(None, None, None)
            said.append(e.value)
        remove(folder, *args, **options)

    monkeypatch.setattr(shutil, "rmtree", removed)
    with contextlib.suppress(KeyboardInterrupt):
        swept(store)
    assert len(said) == 2
    stage = Path(store.root_uri) / "senses"
    assert [p.name for p in stage.iterdir()] == [WORK.fingerprint]


def test_a_paused_writer_that_publishes_before_it_is_swept_keeps_its_artifact(
    store, paused, monkeypatch
):
    writer, draft = paused
    move = store_places.move_aside

    def moved(folder, aside, **options):
        monkeypatch.undo()
        writer.__exit__(None, None, None)
        return move(folder, aside, **options)

    [found] = find_garbage(store.root_uri, older_than_hours=24)
    monkeypatch.setattr(store_places, "move_aside", moved)
    assert sweep([found]) == []
    artifact = store.find(Work("senses", {"k": 9}, {}))
    assert artifact.group("x.zarr")["v"][:].tolist() == [1, 2, 3, 4, 5, 6]
    assert not draft.folder.exists()


def test_a_draft_that_was_swept_and_made_anew_by_a_late_write_is_not_published(store, paused):
    writer, draft = paused
    sweep(find_garbage(store.root_uri, older_than_hours=24))
    late = draft.write_group("x.zarr").create_array("v", shape=(6,), chunks=(1,), dtype="i8")
    late[3:] = 7
    assert draft.folder.exists()
    with pytest.raises(OSError, match="was swept while this process was paused"):
        writer.__exit__(None, None, None)
    assert store.find(Work("senses", {"k": 9}, {})) is None
    assert not draft.folder.exists()


def test_what_is_published_where_a_half_deleted_folder_is_just_moved_stays(store, monkeypatch):
    work = Work("words", {}, {})
    left(store, f"words/{work.fingerprint}")
    rename = Path.rename

    def renamed(path, target):
        monkeypatch.setattr(Path, "rename", rename)
        with store.publish(work) as draft:
            draft.write_json("x.json", 1)
        return rename(path, target)

    [found] = find_garbage(store.root_uri, older_than_hours=24)
    monkeypatch.setattr(Path, "rename", renamed)
    assert sweep([found]) == []
    assert store.find(work).read_bytes("x.json") == b"1\n"
    assert [p.name for p in (Path(store.root_uri) / "words").iterdir()] == [work.fingerprint]


@pytest.mark.parametrize("hours", [0, -1, 0.5, float("nan")])
def test_a_limit_under_an_hour_is_refused(store, hours):
    with pytest.raises(ConfigError, match="could be swept; give 1 or more"):
        find_garbage(store.root_uri, older_than_hours=hours)


def test_a_root_that_is_not_there_has_no_garbage(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert find_garbage(str(tmp_path / "none"), older_than_hours=1) == []
