"""How fast a part is written and read, against plain numpy files with the same arrays.

    python -m benchmarks.store [--rows 131072] [--folder DIR] [--repeats 5]

A part holds what ``dskd_core.embeddings.layout`` writes: random 16-bit states of SmolLM2's width
(states do not compress, and nothing compresses them), and documents, positions and hashes. Both
sides end a write with fsync of every file and folder, numpy one after the other, ours as publishing
does it; before a read both drop their files from the page cache. Numpy's files carry no checksum;
ours carry a CRC-32C a chunk, which is checked on reading. ``publish`` is all that an artifact takes
until it has its name, the SHA-256 of every file and the record included, against numpy's bare
files. A range
is read as clustering reads it: consecutive tokens, a contiguous slice of each of several parts;
numpy's side maps its files into memory and copies the same rows.

Turns alternate and medians are taken. The last line is JSON: write_vs_numpy, publish_vs_numpy,
read_vs_numpy and range_vs_numpy are our bytes a second over numpy's; *_mb_s are ours; cached_* is
the same without fsync and with the files in the page cache, where the processor and not the disk
decides; sha256_mb_s is what one thread hashes.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import zarr

from benchmarks.machine import machine
from dskd_core.embeddings.extraction import Occurrences
from dskd_core.embeddings.layout import write_shard
from dskd_core.store import places
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import ArtifactStore, Draft, Work

Arrays = dict[str, np.ndarray]
ROWS = ("states", "documents", "positions", "hashes")
N_PARTS = 3


def make_part(n_rows: int, d: int, seed: int = 0) -> Arrays:
    """Return a part of random 16-bit states under 4,000 tokens."""
    rng = np.random.default_rng(seed)
    tokens = np.sort(rng.integers(0, 4000, n_rows))
    return {
        "tokens": tokens,
        "states": rng.integers(0, 2**16, (n_rows, d), dtype=np.uint16),
        "documents": rng.integers(0, 10_000, n_rows, dtype=np.int32),
        "positions": rng.integers(0, 2500, n_rows, dtype=np.int32),
        "hashes": rng.integers(0, 2**64, n_rows, dtype=np.uint64),
    }


def write_ours(folder: Path, part: Arrays) -> None:
    """Write a part as extract_shard does."""
    group = Draft(folder.parent).write_group(folder.name)
    columns = (part[name] for name in ("tokens", "documents", "positions", "hashes"))
    met = np.bincount(part["tokens"], minlength=4000)
    write_shard(group, part["states"], Occurrences(*columns), met, "bfloat16")


def write_numpy(folder: Path, part: Arrays) -> None:
    """Write the same arrays as one .npy file each."""
    folder.mkdir()
    for name, values in part.items():
        np.save(folder / f"{name}.npy", values)


def read_ours(folder: Path, rows: slice | None) -> Arrays:
    """Read a part, or a run of its rows; checksums are checked."""
    group = zarr.open_group(places.zarr_store(str(folder)), mode="r", zarr_format=3)
    return {name: get_array(group, name, rows) for name in ROWS}


def read_numpy(folder: Path, rows: slice | None) -> Arrays:
    """Read numpy's files, or a run of their rows."""
    if rows is None:
        return {name: np.load(folder / f"{name}.npy") for name in ROWS}
    return {name: np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[rows]) for name in ROWS}


def publish_ours(folder: Path, part: Arrays) -> None:
    """Write and publish a part: hashed, flushed, with its record, under its name."""
    with ArtifactStore(str(folder)).publish(Work("embeddings-shard", {}, {})) as draft:
        write_ours(draft.path("part.zarr"), part)


def flush_ours(folder: Path) -> None:
    """Bring a part to the disk as publishing does, which hashes the files meanwhile."""
    with ThreadPoolExecutor(places.N_THREADS) as pool:
        list(pool.map(places.flush, [folder / name for name in places.files_under(folder)]))
    places.flush_folders(folder)


def flush_numpy(folder: Path) -> None:
    """Bring numpy's files and their folder to the disk."""
    for name in places.files_under(folder):
        places.flush(folder / name)
    places.flush(folder)


def forget(folder: Path) -> None:
    """Drop every file below a folder from the page cache."""
    for name in places.files_under(folder):
        descriptor = os.open(folder / name, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


SIDES = {
    "ours": (write_ours, flush_ours, read_ours),
    "numpy": (write_numpy, flush_numpy, read_numpy),
}


def seconds(run: Callable[[], object]) -> float:
    """Return how long a call takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def turn(folder: Path, parts: list[Arrays], side: str) -> dict[str, float]:
    """Write and read with one side; return the seconds of each."""
    write, flush, read = SIDES[side]
    places = [folder / f"{side}-{number}" for number in range(len(parts))]
    first, n_rows = places[0], len(parts[0]["states"])
    rows = slice(4 * n_rows // 10, 5 * n_rows // 10)
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    os.sync()
    taken = {"cached_write": seconds(lambda: write(first, parts[0]))}
    taken["cached_read"] = seconds(lambda: read(first, None))
    shutil.rmtree(first)
    os.sync()
    taken["write"] = seconds(lambda: (write(first, parts[0]), flush(first)))
    if side == "ours":
        os.sync()
        taken["publish"] = seconds(lambda: publish_ours(folder / "published", parts[0]))
        shutil.rmtree(folder / "published")
    else:
        taken["publish"] = taken["write"]
    for place, part in zip(places[1:], parts[1:], strict=True):
        write(place, part)
    for place in places:
        forget(place)
    taken["read"] = seconds(lambda: read(first, None))
    for place in places:
        forget(place)
    taken["range"] = seconds(lambda: [read(place, rows) for place in places])
    taken["cached_range"] = seconds(lambda: [read(place, rows) for place in places])
    return taken


def check(folder: Path, parts: list[Arrays]) -> None:
    """Assert that both sides give back what was written."""
    for (side, (*_, read)), (number, part) in product(SIDES.items(), enumerate(parts)):
        whole, run = (read(folder / f"{side}-{number}", rows) for rows in (None, slice(700, 900)))
        for name in ROWS:
            np.testing.assert_array_equal(whole[name], part[name])
            np.testing.assert_array_equal(run[name], part[name][700:900])


def measure(folder: Path, parts: list[Arrays], repeats: int) -> dict[str, float]:
    """Take turns at writing and reading, and return the ratios of the medians."""
    turns: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in sorted(SIDES, reverse=bool(repeat % 2)):
            turns[side].append(turn(folder, parts, side))
    check(folder, parts)
    n_bytes = sum(parts[0][name].nbytes for name in ROWS)
    states = folder / "numpy-0/states.npy"
    hashing = min(seconds(lambda: places.sha256_of_file(states)) for _ in range(2))
    report = {"sha256_mb_s": round(states.stat().st_size / hashing / 1e6, 1)}
    for what in turns["ours"][0]:
        ours, theirs = (
            statistics.median(taken[what] for taken in turns[side]) for side in ("ours", "numpy")
        )
        megabytes = n_bytes * (len(parts) / 10 if "range" in what else 1.0) / 1e6
        print(f"{what:13} ours {megabytes / ours:7.0f} MB/s  numpy {megabytes / theirs:7.0f} MB/s")
        report[f"{what}_vs_numpy"] = round(theirs / ours, 3)
        report[f"{what}_mb_s"] = round(megabytes / ours, 1)
    return report


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=131_072)
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if empty")
    options = parser.parse_args()
    parts = [make_part(options.rows, options.width, seed) for seed in range(N_PARTS)]
    n_bytes = sum(parts[0][name].nbytes for name in ROWS)
    print(
        f"{N_PARTS} parts of {options.rows:,} rows x {options.width}: {n_bytes / 1e6:.0f} MB each"
    )
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(Path(folder), parts, options.repeats)
    print(json.dumps(machine() | report))


if __name__ == "__main__":
    main()
