"""Whether an artifact is what its record says: every checksum, chunk, value, index and input.

All problems are found, not only the first, and each names its place. Nothing is written.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

from dskd_core.errors import ArtifactError
from dskd_core.store import places
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore
from dskd_core.store.integrity import walked
from dskd_core.store.invariants import INVARIANTS, Problem
from dskd_core.store.records import FINGERPRINT, contradictions

_BLOCK_BYTES = 1 << 22
_OUTSIDE = {"source", "folder", "commit"}
_TEXTS = ("corpus", "prompts", "other-text")
_SHARED = ("teacher", "tokenizer", "corpus", "text", "relations", "untrained-student")
"""Whatever two inputs were both made from must be the same, for these."""


@dataclass
class Verified:
    """What a verification read and found.

    Attributes:
        artifact: the artifact.
        problems: all of them, in the order in which they were found.
        n_files: files read.
        n_bytes: their bytes.
        n_chunks: chunks of Zarr arrays read and checked against their CRC-32C.
        inputs: inputs that were found and compared.
    """

    artifact: Artifact
    problems: list[Problem] = field(default_factory=list)
    n_files: int = 0
    n_bytes: int = 0
    n_chunks: int = 0
    inputs: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return one sentence for people."""
        record = self.artifact.record
        what = (
            f"{record.stage}/{record.fingerprint}: {self.n_files} files, {self.n_bytes:,} bytes, "
            f"{self.n_chunks} chunks read; inputs compared: {', '.join(self.inputs) or 'none'}"
        )
        if not self.problems:
            return f"{what}. All is well."
        return (
            f"{what}. {len(self.problems)} problems: delete {self.artifact.uri} and run its stage "
            "again."
        )


def verify(uri: str, *, alone: bool = False) -> Verified:
    """Read an artifact whole and check it.

    ``alone`` does not ask for its inputs, which stand elsewhere.

    Raises:
        ArtifactError: if there is no readable record, so that there is nothing to compare with.
    """
    artifact = ArtifactStore.open(uri.rstrip("/"), check=False)
    verified = Verified(artifact)
    found = verified.problems
    found += _check_files(verified)
    found += _check_name(artifact)
    damaged = {problem.where for problem in found}
    for name in _groups(artifact):
        found += _check_group(verified, name)
    found += _check_tables(artifact, damaged)
    found += _check_invariants(artifact)
    if not alone:
        found += _check_inputs(verified)
    return verified


def _check_files(verified: Verified) -> Iterator[Problem]:
    """Compare every file with the size and SHA-256 of the record, and look for strangers."""
    artifact = verified.artifact
    fs, root = places.filesystem(artifact.uri)
    fs.invalidate_cache()
    there = {name.removeprefix(f"{root}/") for name in map(str, fs.find(root))}
    files = () if places.is_remote(artifact.uri) else walked(Path(artifact.uri))
    odd = {name: what for name, what in files if what}  # neither file nor folder
    yield from (Problem(name, what) for name, what in sorted(odd.items()))
    there -= odd.keys()
    for name, entry in artifact.record.files.items():
        if any(name == link or name.startswith(f"{link}/") for link in odd):
            continue  # said already; what a link leads to is not read
        if name not in there:
            yield Problem(name, "is missing")
            continue
        digest, n_bytes = hashlib.sha256(), 0
        with fs.open(f"{root}/{name}", "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
                n_bytes += len(block)
        verified.n_files += 1
        verified.n_bytes += n_bytes
        if n_bytes != entry["bytes"]:
            yield Problem(name, f"has {n_bytes} bytes, the record says {entry['bytes']}")
        elif digest.hexdigest() != entry["sha256"]:
            yield Problem(name, "has another SHA-256 than the record says")
    for name in sorted(there - set(artifact.record.files) - {RECORD}):
        if not any(name.startswith(f"{link}/") for link in odd):
            yield Problem(name, "is not in the record")


def _check_name(artifact: Artifact) -> Iterator[Problem]:
    """Compare the record's fingerprint with its content and with the place it stands at."""
    record = artifact.record
    yield from (Problem(RECORD, what) for what in contradictions(record))
    stage, _, folder = artifact.uri.rpartition("/")
    if (stage.rpartition("/")[2], folder) != (record.stage, record.fingerprint):
        yield Problem(
            RECORD,
            f"is of {record.stage}/{record.fingerprint}, but stands at "
            f"{stage.rpartition('/')[2]}/{folder}",
        )


def _groups(artifact: Artifact) -> list[str]:
    tops = {name.partition("/")[0] for name in artifact.record.files}
    return sorted(name for name in tops if name.endswith(".zarr"))


def _check_group(verified: Verified, name: str) -> Iterator[Problem]:
    try:
        arrays = list(verified.artifact.group(name).arrays())
    except Exception as error:  # whatever a damaged file makes zarr raise is the finding
        yield Problem(name, f"cannot be opened: {error}")
        return
    for key, array in sorted(arrays):
        yield from _check_array(verified, f"{name}/{key}", array)


def _check_array(verified: Verified, name: str, array: zarr.Array) -> Iterator[Problem]:
    """Read every chunk of an array, its CRC-32C on the way; all of its values are finite."""
    if array.nchunks_initialized < array.nchunks:
        missing = array.nchunks - array.nchunks_initialized
        yield Problem(name, f"lacks {missing} of {array.nchunks} chunks")
    rows = max(1, array.chunks[0])
    for number, start in enumerate(range(0, array.shape[0], rows)):
        place = "/".join([name, "c", str(number), *("0" for _ in array.shape[1:])])
        try:
            block = np.asarray(array[start : start + rows])
        except Exception as error:  # whatever a damaged chunk makes zarr raise is the finding
            yield Problem(place, f"cannot be read: {error}")
            continue
        verified.n_chunks += 1
        wrong = np.argwhere(~_finite(block))
        if len(wrong):
            first = tuple(int(i) for i in wrong[0])
            index = (first[0] + start, *first[1:])
            yield Problem(
                place, f"has {len(wrong)} values that are no finite numbers, the first at {index}"
            )


def _finite(block: NDArray[Any]) -> NDArray[np.bool_]:
    if block.dtype == np.uint16:  # bfloat16 bits: an exponent of ones is infinite or no number
        return np.asarray((block & 0x7F80) != 0x7F80)
    if block.dtype.kind != "f":
        return np.ones(block.shape, dtype=bool)
    return np.asarray(np.isfinite(block))


def _check_tables(artifact: Artifact, damaged: set[str]) -> Iterator[Problem]:
    """Read every Parquet file and every safetensors file to its end."""
    fs, root = places.filesystem(artifact.uri)
    for name in artifact.record.files:
        if any(name == place or name.startswith(f"{place}/") for place in damaged):
            continue  # said already
        try:
            if name.endswith(".parquet"):
                with fs.open(f"{root}/{name}", "rb") as file:
                    pq.read_table(file)
            elif name.endswith(".safetensors"):
                yield from _check_weights(artifact, name)
        except Exception as error:  # whatever a damaged file makes its reader raise is the finding
            yield Problem(name, f"cannot be read: {error}")


def _check_weights(artifact: Artifact, name: str) -> Iterator[Problem]:
    from safetensors import safe_open

    with safe_open(artifact.unchecked_folder() / name, framework="pt") as weights:
        for key in weights.keys():  # noqa: SIM118 - not a dict
            tensor = weights.get_tensor(key)
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                yield Problem(f"{name}:{key}", "has values that are no finite numbers")


def _check_invariants(artifact: Artifact) -> Iterator[Problem]:
    for check in INVARIANTS.get(artifact.record.stage, ()):
        try:
            yield from check(artifact)
        except Exception as error:  # damage found above; what depends on it cannot be asked
            name = check.__name__.strip("_").replace("_", " ")
            yield Problem(artifact.record.stage, f"{name} cannot be checked: {error}")


def _check_inputs(verified: Verified) -> Iterator[Problem]:
    """Look for the inputs and the shards under the same root, and compare what they agree on."""
    artifact = verified.artifact
    record, root = artifact.record, artifact.root_uri
    store = ArtifactStore(root)
    found: dict[str, Artifact] = {}
    for name, fingerprint in record.inputs.items():
        if name in _OUTSIDE | {"tokenizer"} or not FINGERPRINT.fullmatch(fingerprint):
            continue  # a file's hash: what it was made from stands elsewhere
        stages = _TEXTS if name == "text" else (name.partition(" ")[0],)
        standing = [a for stage in stages if (a := _find(store, stage, fingerprint))]
        if standing:
            found[name] = standing[0]
        else:
            yield Problem(f"input {name}", f"{stages[0]}/{fingerprint} is not under {root}")
    parts = record.report.get("parts", [])
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        yield Problem(RECORD, "names its shards by what is no list of fingerprints")
        parts = []
    for fingerprint in parts:
        if not _find(store, f"{record.stage}-shard", fingerprint):
            yield Problem(f"shard {fingerprint}", f"is not under {root}/{record.stage}-shard")
    verified.inputs += found
    yield from _compare_inputs(artifact, found)


def _find(store: ArtifactStore, stage: str, fingerprint: str) -> Artifact | None:
    try:
        return store.open(places.join(store.root_uri, stage, fingerprint), check=False)
    except ArtifactError:
        return None


def _compare_inputs(artifact: Artifact, inputs: dict[str, Artifact]) -> Iterator[Problem]:
    """Compare what two inputs, or an input and the artifact, were both made from."""
    said: dict[str, tuple[str, str]] = {}
    own = dict(artifact.record.inputs)
    if "tokenizer" in artifact.record.report:
        own["tokenizer"] = str(artifact.record.report["tokenizer"])
    sources = [(artifact.record.stage, own)]
    sources += [(name, found.record.inputs) for name, found in inputs.items()]
    for speaker, claims in sources:
        for name, fingerprint in claims.items():
            if name not in _SHARED:
                continue
            first, theirs = said.setdefault(name, (speaker, fingerprint))
            if theirs != fingerprint:
                yield Problem(
                    f"input {speaker}",
                    f"was made with the {name} {fingerprint}, {first} with {theirs}",
                )
