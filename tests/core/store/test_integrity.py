"""Forged artifacts: links, files the record does not name, arrays that dskd does not write."""

import json
import os
import pickle
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr
from zarr.codecs import BytesCodec, GzipCodec, ShardingCodec

from dskd_core import __version__
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.store import places
from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore, Record, Work
from dskd_core.store.verification import verify

WORK = Work("senses", {"k": 5}, {})
VALUES = np.arange(40, dtype=np.float32).reshape(20, 2)
CURE = "delete .* and run its stage again"


@pytest.fixture
def artifact(tmp_path) -> Artifact:
    store = ArtifactStore(str(tmp_path / "root"))
    with store.publish(WORK) as draft:
        put_array(draft.write_group("x.zarr"), "rows", VALUES, chunk_bytes=40)
        draft.write_table("t.parquet", pa.table({"a": [1, 2]}))
        draft.path("model").mkdir()
        draft.path("model/facts.json").write_text("{}")
        draft.path("model/model.safetensors").write_bytes(b"weights")
    return store.get(WORK.stage, WORK.fingerprint)


def reopened(artifact: Artifact) -> Artifact:
    return ArtifactStore.open(artifact.uri)


def forge(artifact: Artifact, *, without: str = "", described: bool = False) -> Artifact:
    """Write the record anew, its seal too, as whoever may write below a root can.

    Args:
        artifact: to be opened again.
        without: names that hold this leave the record.
        described: let it say what the files are now.
    """
    record = Record(**json.loads((Path(artifact.uri) / RECORD).read_text()))
    files = places.described(Path(artifact.uri), flushed=False) if described else record.files
    files = {n: e for n, e in files.items() if n != RECORD and not (without and without in n)}
    forged = replace(record, files=files).sealed()
    (Path(artifact.uri) / RECORD).write_text(json.dumps(asdict(forged)))
    return reopened(artifact)


def lead_away(path: Path, content: bytes | None = None) -> Path:
    """Put a link in the place of a file, or of a folder, to one elsewhere with its content."""
    away = next(folder for folder in path.parents if folder.name == "root").with_name("elsewhere")
    away.mkdir(exist_ok=True)
    target = away / path.name
    if path.is_dir():
        shutil.copytree(path, target)
        shutil.rmtree(path)
    else:
        target.write_bytes(path.read_bytes() if content is None else content)
        path.unlink(missing_ok=True)
    path.symlink_to(target)
    return target


def read_whole(artifact: Artifact) -> np.ndarray:
    return get_array(artifact.group("x.zarr"), "rows")


def read_through_zarr(artifact: Artifact) -> np.ndarray:
    return np.asarray(artifact.group("x.zarr")["rows"][...])


READERS = pytest.mark.parametrize("read", [read_whole, read_through_zarr])
PLACES = ["c/0/0", "c/1", "c", "zarr.json", "."]


@READERS
@pytest.mark.parametrize("place", PLACES)
def test_a_link_in_an_array_is_refused_even_to_a_copy(artifact, read, place):
    np.testing.assert_array_equal(read(artifact), VALUES)
    lead_away(Path(artifact.uri) / "x.zarr/rows" / place)
    with pytest.raises(ArtifactError, match=rf"is or lies in a link to .*elsewhere.*{CURE}"):
        read(reopened(artifact))
    assert any("is a link to" in problem.what for problem in verify(artifact.uri).problems)


@READERS
def test_a_group_that_is_a_link_is_refused(artifact, read):
    lead_away(Path(artifact.uri) / "x.zarr")
    with pytest.raises(ArtifactError, match=r"link to .*elsewhere"):
        read(reopened(artifact))


@READERS
def test_a_chunk_that_is_a_link_absent_from_the_record_is_not_returned_as_data(artifact, read):
    secret = np.full((5, 2), 7, np.float32).tobytes()
    secret += google_crc32c.value(secret).to_bytes(4, "little")
    lead_away(Path(artifact.uri) / "x.zarr/rows/c/0/0", secret)
    forged = forge(artifact, without="rows/c/0/0")
    with pytest.raises(ArtifactError, match=rf"rows/c/0/0 is not in its record; {CURE}"):
        read(forged)


@READERS
@pytest.mark.parametrize("present", [True, False])
def test_a_chunk_the_record_does_not_name_is_neither_data_nor_zeros(artifact, read, present):
    if not present:
        (Path(artifact.uri) / "x.zarr/rows/c/3/0").unlink()
    with pytest.raises(ArtifactError, match=r"rows/c/3/0 is not in its record"):
        read(forge(artifact, without="rows/c/3/0"))


@READERS
@pytest.mark.parametrize("name", ["x.zarr/rows/zarr.json", "x.zarr/zarr.json"])
def test_metadata_the_record_does_not_name_is_refused(artifact, read, name):
    with pytest.raises(ArtifactError, match=f"{name} is not in its record"):
        read(forge(artifact, without=name))


def test_an_array_laid_beside_those_of_the_record_is_refused(artifact):
    put_array(zarr.open_group(f"{artifact.uri}/x.zarr", mode="r+"), "more", VALUES)
    group = reopened(artifact).group("x.zarr")
    np.testing.assert_array_equal(get_array(group, "rows"), VALUES)
    with pytest.raises(ArtifactError, match=r"more/zarr\.json is not in its record"):
        get_array(group, "more")
    with pytest.raises(ArtifactError, match=r"more/zarr\.json is not in its record"):
        list(group.arrays())
    with pytest.raises(KeyError):
        group["absent"]


CODECS = {
    "gzip": {"compressors": [GzipCodec()]},
    "none": {"compressors": None},
    "sharded": {"serializer": ShardingCodec(chunk_shape=(5, 2), codecs=[BytesCodec()])},
}


@READERS
@pytest.mark.parametrize("codecs", CODECS.values(), ids=CODECS)
def test_codecs_that_dskd_does_not_write_are_refused(artifact, read, codecs):
    group = zarr.open_group(f"{artifact.uri}/x.zarr", mode="r+")
    options = {"compressors": None} | codecs
    array = group.create_array("rows", shape=(20, 2), dtype="f4", overwrite=True, **options)
    array[...] = VALUES
    with pytest.raises(ArtifactError, match=r"rows/zarr\.json has the codecs .*dskd writes"):
        read(forge(artifact, described=True))


@READERS
@pytest.mark.parametrize(
    "change",
    [
        {"codecs": [{"name": "bytes"}, {"name": "numcodecs.pickle"}]},
        {"codecs": [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "crc32c"}]},
        {"codecs": [{"name": "crc32c"}]},
        {"codecs": []},
        {"codecs": "bytes"},
        {"zarr_format": 2},
        {"node_type": "elsewhere"},
        {"chunk_key_encoding": {"name": "v2"}},
        {"chunk_grid": {"name": "rectilinear"}},
        {"storage_transformers": [{"name": "indirection"}]},
        {"chunk_grid": None},
    ],
    ids=str,
)
def test_metadata_of_another_kind_is_refused_before_zarr_acts_on_it(artifact, read, change):
    path = Path(artifact.uri) / "x.zarr/rows/zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ArtifactError, match=rf"rows/zarr\.json .*{CURE}"):
        read(forge(artifact, described=True))


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@READERS
def test_metadata_of_arrays_inside_that_of_their_group_is_refused(artifact, read):
    zarr.consolidate_metadata(f"{artifact.uri}/x.zarr")
    with pytest.raises(ArtifactError, match=r"x\.zarr/zarr\.json holds the metadata of its arrays"):
        read(forge(artifact, described=True))


@READERS
def test_an_array_of_zarr_2_is_never_opened(artifact, read):
    shutil.rmtree(Path(artifact.uri) / "x.zarr")
    group = zarr.create_group(f"{artifact.uri}/x.zarr", zarr_format=2)
    group.create_array("rows", data=VALUES)
    with pytest.raises(ConfigError, match=r"'\.z\w+' is not a plain name"):
        forge(artifact, described=True)
    with pytest.raises(ArtifactError, match=r"x\.zarr is missing"):
        read(forge(artifact, described=True, without="/.z"))


def test_an_array_of_zarr_2_in_a_group_of_zarr_3_is_not_seen(artifact):
    shutil.rmtree(Path(artifact.uri) / "x.zarr/rows")
    zarr.create_array(f"{artifact.uri}/x.zarr/rows", data=VALUES, zarr_format=2)
    with pytest.raises(ArtifactError, match=r"has no x\.zarr/rows"):
        read_whole(forge(artifact, described=True, without="/.z"))


def test_tables_and_files_the_record_does_not_name_are_refused(artifact):
    pq.write_table(pa.table({"a": [3]}), f"{artifact.uri}/more.parquet")
    (Path(artifact.uri) / "more.json").write_text("{}")
    opened = reopened(artifact)
    for read in (lambda: opened.table("more.parquet"), lambda: opened.read_bytes("more.json")):
        with pytest.raises(ArtifactError, match=rf"more\.\w+ is not in its record; {CURE}"):
            read()


@pytest.mark.parametrize("name", ["t.parquet", "model/facts.json", "model"])
def test_tables_and_files_that_are_links_are_refused_even_to_a_copy(artifact, name):
    lead_away(Path(artifact.uri) / name)
    opened = reopened(artifact)
    full = "model/facts.json" if name == "model" else name
    read = opened.table if name.endswith("parquet") else opened.read_bytes
    with pytest.raises(ArtifactError, match=rf"{full} is or lies in a link to .*{CURE}"):
        read(full)
    for weights in (True, False):
        with pytest.raises(ArtifactError, match=f"{name} is a link to"):
            opened.folder(weights=weights)


@pytest.mark.parametrize("name", ["model/chat_template.jinja", "model/deep/er/a.json", "x.bin"])
def test_a_folder_with_a_file_the_record_does_not_name_is_given_to_no_library(artifact, name):
    path = Path(artifact.uri) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    with pytest.raises(ArtifactError, match=f"{name} is not in its record; {CURE}"):
        reopened(artifact).folder()


def test_what_file_managers_leave_behind_does_no_harm_unless_it_is_a_link(artifact):
    hidden = Path(artifact.uri) / "model/.DS_Store"
    hidden.write_text("x")
    assert artifact.folder() == Path(artifact.uri)
    lead_away(hidden)
    with pytest.raises(ArtifactError, match="is a link to"):
        artifact.folder()


def test_a_pipe_in_an_artifact_is_refused_and_not_waited_for(artifact):
    path = Path(artifact.uri) / "model/facts.json"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ArtifactError, match=r"facts\.json is no plain file"):
        artifact.folder()
    said = [(problem.where, problem.what) for problem in verify(artifact.uri).problems]
    assert ("model/facts.json", "is no plain file") in said


def test_a_record_that_is_a_link_is_refused(artifact):
    lead_away(Path(artifact.uri) / RECORD)
    with pytest.raises(ArtifactError, match=r"record\.json is or lies in a link to"):
        reopened(artifact)


def test_a_root_and_a_stage_may_be_links(artifact, tmp_path):
    root = Path(artifact.uri).parents[1]
    root.rename(tmp_path / "disk")
    root.symlink_to(tmp_path / "disk")
    (tmp_path / "disk/senses").rename(tmp_path / "disk/other-disk")
    (tmp_path / "disk/senses").symlink_to(tmp_path / "disk/other-disk")
    found = ArtifactStore(str(root)).get(WORK.stage, WORK.fingerprint)
    np.testing.assert_array_equal(read_whole(found), VALUES)
    np.testing.assert_array_equal(read_through_zarr(found), VALUES)
    assert found.table("t.parquet").num_rows == 2
    assert found.folder() == Path(found.uri)


def pack(artifact: Artifact, **changes) -> Artifact:
    """Change the metadata of the array, and the record with it."""
    path = Path(artifact.uri) / "x.zarr/rows/zarr.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return forge(artifact, described=True)


def grid(*chunk: int) -> dict:
    return {"name": "regular", "configuration": {"chunk_shape": chunk}}


@READERS
@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [10**12, 2]},
        {"shape": [10**15, 2], "chunk_grid": grid(10**6, 2)},
        {"shape": [-5, 2]},
        {"shape": [20.0, 2]},
        {"shape": [20, 2], "chunk_grid": grid(0, 2)},
        {"shape": [1] * 60, "chunk_grid": grid(*[1] * 60)},
        {"shape": 40},
        {"data_type": {"name": "fixed_length_utf32", "configuration": {"length_bytes": 10**9}}},
        {"data_type": "string"},
        {"chunk_grid": {"name": "regular"}},
    ],
    ids=str,
)
def test_an_array_of_more_than_its_chunks_hold_is_refused_before_it_is_made(
    artifact, read, changes
):
    with pytest.raises(ArtifactError, match=rf"rows/zarr\.json (asks for|is no array).*{CURE}"):
        read(pack(artifact, **changes))
    assert any("cannot be opened" in problem.what for problem in verify(artifact.uri).problems)


def zstd(values: np.ndarray) -> bytes:
    from numcodecs.zstd import Zstd

    return Zstd(1).encode(np.ascontiguousarray(values))


def test_a_chunk_of_zstd_that_unpacks_to_another_size_is_refused_unread(artifact):
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    codecs += [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}]
    folder = Path(artifact.uri) / "x.zarr/rows/c"
    for number in range(4):
        (folder / f"{number}/0").write_bytes(zstd(VALUES[5 * number : 5 * number + 5]))
    packed = pack(artifact, codecs=codecs)
    np.testing.assert_array_equal(read_through_zarr(packed), VALUES)
    (folder / "2/0").write_bytes(zstd(np.zeros(1 << 24, np.uint8)))
    with pytest.raises(ArtifactError, match=r"c/2/0 does not unpack to the 40 of its array"):
        read_through_zarr(forge(artifact, described=True))


@pytest.mark.parametrize("name", ["one", "a/c", "c"])
def test_every_chunk_of_zstd_is_measured_whatever_its_array_is_called(tmp_path, name):
    """The key of a single value's chunk has no slash behind its ``c``, and a name may be ``c``."""
    store = ArtifactStore(str(tmp_path / "root"))
    with store.publish(WORK) as draft:
        group = draft.write_group("x.zarr")
        values = np.array(7.0) if name == "one" else VALUES
        group.create_array(
            name, data=values, chunks=values.shape, config={"write_empty_chunks": True}
        )
    made = store.get(WORK.stage, WORK.fingerprint)
    assert np.asarray(made.group("x.zarr")[name][...]).tolist() == values.tolist()
    chunk = Path(made.uri) / f"x.zarr/{name}/c" / ("" if name == "one" else "0/0")
    chunk.write_bytes(zstd(np.zeros(1 << 20, np.uint8)))
    with pytest.raises(ArtifactError, match=r"does not unpack to the"):
        forge(made, described=True).group("x.zarr")[name][...]


def test_chunks_under_other_keys_are_refused_by_their_separator(artifact):
    dotted = {"name": "default", "configuration": {"separator": "."}}
    with pytest.raises(ArtifactError, match=r"rows/zarr\.json has the codecs .*'\.'"):
        read_whole(pack(artifact, chunk_key_encoding=dotted))


def test_a_chunk_or_metadata_of_a_terabyte_of_holes_is_not_read(artifact):
    chunk, metadata = (
        Path(artifact.uri) / f"x.zarr/rows/{name}" for name in ("c/2/0", "zarr.json")
    )
    with chunk.open("ab") as file:
        file.truncate(1 << 40)
    for read in (read_whole, read_through_zarr):
        with pytest.raises(ArtifactError, match=r"c/2/0 has 1099511627776 bytes"):
            read(reopened(artifact))
    record = json.loads((Path(artifact.uri) / RECORD).read_text())
    for name, told in ((chunk, "is larger than the 40 bytes"), (metadata, "has more than 1,048,")):
        key = str(name.relative_to(artifact.uri))
        forged = {**record, "files": {**record["files"], key: {"bytes": 1 << 40, "sha256": "0"}}}
        (Path(artifact.uri) / RECORD).write_text(json.dumps(asdict(Record(**forged).sealed())))
        for read in (read_whole, read_through_zarr):
            with pytest.raises(ArtifactError, match=told):
                read(reopened(artifact))
        with metadata.open("ab") as file:
            file.truncate(1 << 40)


@pytest.mark.parametrize("name", ["t.parquet", "x.zarr/rows/c/2/0", RECORD])
def test_a_pipe_is_not_waited_for_even_where_a_record_describes_it(artifact, name):
    record = json.loads((Path(artifact.uri) / RECORD).read_text())
    if name != RECORD:
        record["files"][name] = {"bytes": 0, "sha256": "0" * 64}
        (Path(artifact.uri) / RECORD).write_text(json.dumps(asdict(Record(**record).sealed())))
    (Path(artifact.uri) / name).unlink()
    os.mkfifo(Path(artifact.uri) / name)
    for read in (
        lambda found: found.table("t.parquet"),
        lambda found: found.read_bytes("t.parquet"),
        read_whole,
        read_through_zarr,
    ):
        if name != RECORD and ("t.parquet" in name) != (
            read not in (read_whole, read_through_zarr)
        ):
            continue
        with pytest.raises(ArtifactError, match=f"{name} is no plain file"):
            read(reopened(artifact))


@pytest.mark.parametrize(
    "text",
    [
        '{"report":' + "[" * 200_000 + "]" * 200_000 + "}",
        "[]",
        '{"stage": 1}',
        None,
    ],
    ids=["deep", "list", "fields", "files"],
)
def test_a_record_of_another_form_is_refused_in_a_sentence(artifact, text):
    path = Path(artifact.uri) / RECORD
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record).replace("{", '{"files": {}, ', 1))
    with pytest.raises(ArtifactError, match=r"has the key 'files' twice"):
        reopened(artifact)
    for files in ([1, 2], {"t.parquet": "x"}, {"t.parquet": {"bytes": "1", "sha256": ""}}):
        said = json.dumps(record | {"files": files})
        path.write_text(said if text is None else text)
        with pytest.raises(ArtifactError, match=r"has no readable record\.json"):
            reopened(artifact)


@pytest.mark.parametrize(
    "changes",
    [
        {"versions": []},
        {"versions": {"dskd": 1}},
        {"counts": {"rows": "many"}},
        {"inputs": {"corpus": 5}},
        {"seconds": "x"},
        {"processor": ["cpu"]},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_record_with_a_field_of_another_kind_is_refused_in_a_sentence(artifact, changes):
    path = Path(artifact.uri) / RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtifactError, match=r"a field is of another kind.*run its stage again"):
        reopened(artifact)


def test_what_a_record_lacks_is_refused_as_of_another_version_at_any_depth(artifact):
    path = Path(artifact.uri) / RECORD
    record = Record(**json.loads(path.read_text()))
    report = {"text": {"stage": "corpus"}, "sources": [{"name": "a"}]}
    old = replace(record, report=report, versions={"dskd": "0.0.1"}).sealed()
    path.write_text(json.dumps(asdict(old)))
    read = reopened(artifact).record
    assert read.report == report
    assert read.report.get("arm") is None
    assert asdict(read) == asdict(old)
    assert pickle.loads(pickle.dumps(read)) == read
    cure = "in its record: it was made by dskd 0.0.1.*; delete it and run its stage again"
    for ask in (
        lambda: read.counts["steps"],
        lambda: read.report["text"]["share"],
        lambda: pickle.loads(pickle.dumps(read)).report["sources"][0]["licence"],
    ):
        with pytest.raises(ArtifactError, match=f"{artifact.uri} has no (counts|report) .*{cure}"):
            ask()


def test_shards_that_a_record_names_by_no_list_are_a_problem_of_it(artifact):
    path = Path(artifact.uri) / RECORD
    record = Record(**json.loads(path.read_text()))
    for parts in (None, 5, [5]):
        path.write_text(json.dumps(asdict(replace(record, report={"parts": parts}).sealed())))
        said = [problem.what for problem in verify(artifact.uri).problems]
        assert "names its shards by what is no list of fingerprints" in said


def test_a_record_of_gigabytes_is_not_read(artifact):
    os.truncate(Path(artifact.uri) / RECORD, 1 << 40)
    with pytest.raises(ArtifactError, match=r"1,099,511,627,776 bytes are more than"):
        reopened(artifact)


def test_an_artifact_of_another_version_is_refused_as_one_and_not_as_damaged(artifact):
    for version, told in (("0.0.1", "by dskd 0.0.1, and this is"), (__version__, "earlier state")):
        path = Path(artifact.uri) / RECORD
        record = Record(**json.loads(path.read_text()))
        path.write_text(json.dumps(asdict(replace(record, versions={"dskd": version}).sealed())))
        old = reopened(artifact)
        cure = f"has no {{}}: it was made .*{told}.*; delete it and run its stage again with this"
        with pytest.raises(ArtifactError, match=cure.format(r"more\.parquet")):
            old.table("more.parquet")
        with pytest.raises(ArtifactError, match=cure.format(r"more\.json")):
            old.read_bytes("more.json")
        with pytest.raises(ArtifactError, match=cure.format(r"x\.zarr/more")):
            get_array(old.group("x.zarr"), "more")
        with pytest.raises(ArtifactError, match=cure.format(r"y\.zarr")):
            old.group("y.zarr")
