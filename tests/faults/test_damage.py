"""A flipped byte, a cut or empty or absent file, a record of another build: refused by name.

Every kind of file of every stage is damaged in every way; whoever reads it is told which file and
what to do, and ``verify`` names it.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dskd_core.config import PipelineConfig
from dskd_core.errors import ArtifactError, DataError, DskdError
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore, Work
from dskd_core.store.verification import verify
from tests.faults.driver import live
from tests.faults.lives import lives
from tests.miniature import make

CHANGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped": lambda content: content[:-9] + bytes([content[-9] ^ 4]) + content[-8:],
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "absent": lambda content: None,
}
CURE = r"; delete .* and run its stage again|; delete its artifact and run the stage again"


@pytest.fixture(scope="module")
def root(miniature, tmp_path_factory) -> Path:
    """A copy of all artifacts of a miniature, to be damaged and mended."""
    miniature.scores(miniature.student())
    folder = tmp_path_factory.mktemp("damage") / "root"
    shutil.copytree(miniature.store.root_uri, folder)
    return folder


def artifacts(root: Path) -> Iterator[Artifact]:
    """Yield one artifact of every stage."""
    store = ArtifactStore(str(root))
    for stage in sorted(path.name for path in root.iterdir()):
        yield from store.of_stage(stage)[-1:]


def kinds(artifact: Artifact) -> list[str]:
    """Return a file of every kind: metadata and chunks of arrays, tables, weights, anything."""
    found = {}
    for name, entry in artifact.record.files.items():
        kind = "chunk" if "/c/" in name else name.rpartition("/")[2]
        found.setdefault(kind, name) if entry["bytes"] > 16 else None
    return list(found.values())


def read(artifact: Artifact, name: str, *, lazily: bool = False) -> None:
    """Read a file as stages do."""
    if ".zarr/" in name:
        top, _, key = name.partition("/")
        group = artifact.group(top)
        key = key.partition("/c/")[0].removesuffix("/zarr.json")
        if key != "zarr.json":
            np.asarray(group[key][...]) if lazily else get_array(group, key)
    elif name.endswith(".parquet"):
        artifact.table(name)
    else:
        artifact.folder(weights=True)


def changed(path: Path, change: Callable[[bytes], bytes | None]) -> bytes:
    content = path.read_bytes()
    path.unlink()
    if (damaged := change(content)) is not None:
        path.write_bytes(damaged)
    return content


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_every_kind_of_damaged_file_is_refused_by_name(root, change):
    n_files = 0
    for artifact in artifacts(root):
        for name in kinds(artifact):
            path = Path(artifact.file_uri(name))
            content = changed(path, change)
            for lazily in (False, True):
                with pytest.raises((ArtifactError, DataError), match=CURE) as refused:
                    read(artifact, name, lazily=lazily)
                assert name in str(refused.value)
            said = [problem.where for problem in verify(artifact.uri, alone=True).problems]
            assert any(name.startswith(where) for where in said), f"{name} is not in {said}"
            path.write_bytes(content)
            read(artifact, name)
            n_files += 1
    assert n_files > 40


@pytest.mark.parametrize("change", [c for n, c in CHANGES.items() if n != "absent"])
def test_a_damaged_record_is_refused_by_name(root, change):
    for artifact in artifacts(root):
        content = changed(path := Path(artifact.uri) / RECORD, change)
        with pytest.raises(ArtifactError, match=rf"{artifact.fingerprint}.*{RECORD}.*{CURE[2:8]}"):
            ArtifactStore.open(artifact.uri)
        path.write_bytes(content)


def test_one_other_digit_anywhere_in_a_record_is_noticed(root):
    artifact = ArtifactStore(str(root)).of_stage("activations")[-1]
    path = Path(artifact.uri) / RECORD
    content = path.read_bytes()
    record = json.loads(content)
    record["counts"]["positions"] += 1
    path.write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match=r"record.json is damaged: its seal \w+ does not match"):
        ArtifactStore.open(artifact.uri)
    assert RECORD in [p.where for p in verify(artifact.uri).problems]
    path.write_bytes(content)


def test_a_record_of_another_build_is_refused(root):
    store = ArtifactStore(str(root))
    mine, other = store.of_stage("senses-shard")[:2]
    path = Path(mine.uri) / RECORD
    content = path.read_bytes()
    shutil.copy(Path(other.uri) / RECORD, path)
    with pytest.raises(ArtifactError, match=f"of another build, senses-shard/{other.fingerprint}"):
        store.get("senses-shard", mine.fingerprint)
    path.write_bytes(content)


def test_a_file_of_another_build_with_the_right_size_is_refused(tmp_path):
    store = ArtifactStore(str(tmp_path))
    made = []
    for k in (1, 2):
        with store.publish(work := Work("words", {"k": k}, {})) as draft:
            draft.write_table("words.parquet", pa.table({"k": [k]}))
        made.append(store.find(work))
    shutil.copy(made[0].file_uri("words.parquet"), made[1].file_uri("words.parquet"))
    with pytest.raises(ArtifactError, match=r"words\.parquet has another SHA-256"):
        made[1].table("words.parquet")


# Which file is damaged, and the stage that then has to read it.
READERS = [
    ("teacher", "tokenizer.json", "corpus"),
    ("corpus", "windows.zarr/token_ids/c/0", "embeddings-shard"),
    ("corpus", "documents.parquet", "senses"),
    ("embeddings-shard", "part.zarr/states/c/0/0", "senses-shard"),
    ("embeddings-shard", "part.zarr/tokens/zarr.json", "senses-shard"),
    ("embeddings", "index.zarr/limits/c/0", "senses-shard"),
    ("senses-shard", "senses.zarr/centroids/c/0/0", "senses"),
    ("senses", "senses.zarr/zarr.json", "dictionary"),
    ("lexicon", "lexicon_pairs.parquet", "relations"),
    ("lexicon-shard", "rows.parquet", "lexicon"),
    ("relations", "pairs.parquet", "words"),
    ("words", "headwords.parquet", "dictionary"),
    ("dictionary", "dictionary.zarr/rows/c/0/0", "candidates"),
    ("untrained-student", "model/model.safetensors", "student"),
    ("activations-shard", "part.zarr/entering/c/0/0", "student"),
    ("candidates", "part-00000.zarr/negatives/c/0/0", "student"),
    ("student", "model/model.safetensors", "scores"),
    ("scores", "windows.parquet", "report"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> PipelineConfig:
    """A finished run with two students."""
    config = make(
        tmp_path_factory.mktemp("whole"),
        evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20},
    )
    with lives(live, seconds=120) as life:
        assert life(config) == 0
    return config


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "name", "reader"), READERS)
def test_no_stage_computes_from_a_damaged_file(whole, tmp_path, stage, name, reader):
    config = whole.model_copy(update={"root_uri": str(tmp_path / "root")})
    shutil.copytree(whole.root_uri, config.root_uri)
    with lives(live, seconds=120) as life:
        store = ArtifactStore(config.root_uri)
        wanted = {a.fingerprint: a.record.content for a in store.of_stage(reader)}
        for artifact in store.of_stage(reader):
            store.discard(artifact)
        damaged = [a for a in store.of_stage(stage) if name in a.record.files]
        assert damaged
        for artifact in damaged:
            changed(Path(artifact.file_uri(name)), CHANGES["flipped"])
        assert life(config, None, tmp_path / "words") == 1
        words = (tmp_path / "words").read_text("utf-8")
        assert words.startswith(("ArtifactError: ", "DataError: ")), words
        assert name in words
        for artifact in damaged:
            store.discard(artifact)
        assert life(config) == 0, "the cure of the message"
        made = {a.fingerprint: a.record.content for a in store.of_stage(reader)}
        assert made == wanted


def test_a_chunk_that_is_absent_is_not_read_as_zeros(root):
    artifact = ArtifactStore(str(root)).of_stage("dictionary")[-1]
    path = Path(artifact.file_uri("dictionary.zarr/rows/c/0/0"))
    content = changed(path, CHANGES["absent"])
    rows = artifact.group("dictionary.zarr")["rows"]
    with pytest.raises(DskdError, match="rows/c/0/0 is missing"):
        rows[0:1]
    path.write_bytes(content)
