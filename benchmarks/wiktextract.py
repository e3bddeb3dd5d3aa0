"""How fast a Wiktextract file becomes Parquet, against a plain json.loads loop.

    python -m benchmarks.wiktextract [--megabytes 300] [--entries FILE.jsonl ...]

The file is grown from real entries (those under ../shared/data, or ``--entries``): every copy of
them spells its words in its own way, so no row repeats another copy's. Without real entries it is
grown from a few SYNTHETIC ones of like size and keys, and the report says so. Both sides are one
process, read the same fields, clean and filter words by the same functions, and write Parquet with
the same columns; that they gave the same rows is checked. The plain side is the loop most people
would write: a line, ``json.loads``, a list of rows, one table.

The last line is JSON: parse_speedup (plain seconds over ours: read, filter, write), and the same
for gzip; build_speedup (over all of build_lexicon, which also hashes the file, drops repeated rows
and sorts); megabytes a second; peak memory of our process while it parses and while it builds.
"""

import argparse
import gzip
import itertools
import json
import multiprocessing
import resource
import string
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import machine

SHARED = Path(__file__).parents[2] / "shared" / "data" / "wiktextract"
_MARK = "@@"
_MB = 1_000_000


def entries_of(files: list[Path]) -> tuple[list[dict[str, Any]], str]:
    """Return entries to grow a file from, and where they come from."""
    files = files or sorted(SHARED.glob("*.jsonl"))
    lines = [line for file in files for line in file.read_bytes().splitlines() if line.strip()]
    if lines:
        return [json.loads(line) for line in lines], f"{len(lines)} real entries"
    return list(synthetic()), "SYNTHETIC entries (no real ones were found)"


def synthetic() -> Iterator[dict[str, Any]]:
    """Yield entries of about 2 kB, one in four with relations."""
    for i in range(400):
        quotations = [{"text": f"So it was said of {i}. " * 8, "type": "quotation"}] * 3
        sense: dict[str, Any] = {
            "glosses": [f"The {i}th thing that a word may mean."],
            "links": [["thing", "thing"], ["mean", "mean"]],
            "examples": quotations,
            "tags": ["uncountable"] if i % 3 else ["obsolete"],
        }
        entry = {
            "senses": [sense, dict(sense, tags=[])],
            "pos": "noun",
            "word": f"word {i}",
            "lang": "English",
            "lang_code": "en",
            "etymology_text": "From an older word of the same meaning. " * 6,
            "sounds": [{"ipa": "/wɜːd/", "tags": ["Received-Pronunciation"]}] * 4,
        }
        if i % 4 == 0:
            entry["synonyms"] = [{"word": f"other{i}-{j}", "sense": "thing"} for j in range(4)]
            sense["antonyms"] = [{"word": f"contrary {i}", "source": "Thesaurus:word"}]
        yield entry


def grow(path: Path, entries: list[dict[str, Any]], n_bytes: int) -> None:
    """Write copies of ``entries`` until the file has ``n_bytes``, each with words of its own."""
    for entry in entries:
        holders = [entry, *entry.get("senses", ())]
        items = [i for h in holders for key in ("synonyms", "antonyms") for i in h.get(key, ())]
        for word in (entry, *items):
            if "word" in word and not word["word"].endswith(_MARK):
                word["word"] += _MARK
    copy = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries).encode()
    suffixes = itertools.product(string.ascii_lowercase, repeat=4)
    with path.open("wb") as file:
        while file.tell() < n_bytes:
            file.write(copy.replace(_MARK.encode(), "".join(next(suffixes)).encode()))


def parse_plainly(path: Path, target: Path) -> int:
    """Read relations in the way most people would, and return how many bytes of memory it took."""
    from dskd_core.config import LexiconConfig
    from dskd_core.lexicon.cleaning import clean, tidy
    from dskd_core.lexicon.rows import PAIR_SCHEMA

    excluded, rows = set(LexiconConfig().excluded_tags), []
    open_text = gzip.open if path.suffix == ".gz" else open
    with open_text(path, "rt", encoding="utf-8") as lines:  # type: ignore[operator]
        for line in lines:
            entry = json.loads(line)
            if "word" not in entry or entry.get("lang_code") != "en":
                continue
            if excluded & set(entry.get("tags", ())):
                continue
            all_senses = entry.get("senses", [])
            senses = [s for s in all_senses if not excluded & set(s.get("tags", ()))]
            if all_senses and not senses:
                continue
            word, fault = clean(entry["word"])
            only = senses[0] if len(senses) == 1 else {}
            for holder, sense in [(entry, only), *((s, s) for s in senses)]:
                glosses = sense.get("glosses")
                gloss = tidy(glosses[-1]) if glosses else ""
                for relation in ("synonym", "antonym"):
                    for item in holder.get(relation + "s", ()):
                        other, fault_of_other = clean(item.get("word", ""))
                        tags = set(item.get("tags", ()))
                        if fault or fault_of_other or tags & excluded:
                            continue
                        if word.casefold() == other.casefold():
                            continue
                        tags |= set(sense.get("tags", ()))
                        if item.get("source", "").startswith("Thesaurus:"):
                            tags.add("thesaurus")
                            if relation == "antonym" and holder is sense:
                                tags.add("thesaurus-antonym")
                        rows.append(
                            {
                                "word_a": word,
                                "word_b": other,
                                "relation": relation,
                                "source": "wiktextract",
                                "pos": entry.get("pos", ""),
                                "sense": tidy(item.get("sense", "")) or gloss,
                                "tags": sorted(tags),
                                "licence": "CC BY-SA 4.0",
                                "weight": 1.0,
                            }
                        )
    pq.write_table(pa.Table.from_pylist(rows, schema=PAIR_SCHEMA), target, compression="lz4")
    return len(rows)


def parse(path: Path, target: Path) -> int:
    """Read, filter and write with dskd, and return the rows."""
    from dskd_core.config import LexiconConfig
    from dskd_core.lexicon.registry import readers
    from dskd_core.lexicon.rows import PAIR_SCHEMA, Source
    from dskd_core.store.parquet import write_rows

    found = readers()["wiktextract"]
    source = Source(path, "wiktextract", found.licence, LexiconConfig())
    return write_rows(target, found.read(source), PAIR_SCHEMA)


def build(path: Path, target: Path) -> int:
    """Run the whole stage, and return its rows."""
    from dskd_core.config import LexiconConfig, SourceConfig
    from dskd_core.lexicon import build_lexicon
    from dskd_core.store.artifacts import ArtifactStore

    source = SourceConfig(kind="wiktextract", uri=str(path))
    config = LexiconConfig(sources=(source,), morphology=())
    return build_lexicon(ArtifactStore(str(target)), config).record.counts["n_pairs"]


class Took(NamedTuple):
    """What one side took: seconds by the clock and of the processor, peak memory, its rows."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    n_rows: int


def timed(run: Callable[[Path, Path], int], path: Path, target: Path) -> Took:
    """Run in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_timed_here, (run, path, target))


def _timed_here(run: Callable[[Path, Path], int], path: Path, target: Path) -> Took:
    import dskd_core.lexicon.store
    from dskd_core.lexicon.registry import readers

    readers()  # imports are not what is measured
    assert dskd_core.lexicon.store
    started, worked = time.perf_counter(), time.process_time()
    n_rows = run(path, target)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - worked
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MB
    return Took(seconds, cpu_seconds, peak_mb, n_rows)


def measure(
    *, megabytes: int = 300, entries: list[Path] | None = None, with_gzip: bool = True
) -> dict[str, Any]:
    """Grow a file and read it both ways.

    Args:
        megabytes: size of the file.
        entries: JSON lines to grow it from; those under ../shared/data if None.
        with_gzip: read it gzipped too.

    Returns:
        What the last line of the report says.
    """
    found, origin = entries_of(entries or [])
    result: dict[str, Any] = {"parse_entries": origin}
    with tempfile.TemporaryDirectory(prefix="dskd-benchmark-") as name:
        folder = Path(name)
        path = folder / "entries.jsonl"
        grow(path, found, megabytes * _MB)
        size = path.stat().st_size / _MB
        result["parse_mb"] = round(size)
        print(f"{size:.0f} MB grown from {origin}; one process each")
        plain = timed(parse_plainly, path, folder / "plain.parquet")
        ours = min(timed(parse, path, folder / "ours.parquet") for _ in range(2))
        assert plain.n_rows == ours.n_rows, (plain, ours)
        tables = [pq.read_table(folder / f"{side}.parquet") for side in ("plain", "ours")]
        assert tables[0].equals(tables[1]), "the two sides gave different rows"
        whole = min(timed(build, path, folder / f"root{i}") for i in range(2))
        for side, took in (("plain loop", plain), ("dskd", ours), ("whole stage", whole)):
            print(_line(side, took, size))
        print(f"{ours.n_rows} rows, equal on both sides; {whole.n_rows} distinct")
        result |= {
            "parse_speedup": round(plain.seconds / ours.seconds, 2),
            "parse_speedup_cpu": round(plain.cpu_seconds / ours.cpu_seconds, 2),
            "parse_mb_per_second": round(size / ours.seconds, 1),
            "parse_peak_mb": round(ours.peak_mb),
            "build_speedup": round(plain.seconds / whole.seconds, 2),
            "build_speedup_cpu": round(plain.cpu_seconds / whole.cpu_seconds, 2),
            "build_peak_mb": round(whole.peak_mb),
            "parse_processes": 1,
        }
        if with_gzip:
            result |= _measure_gzip(path, folder, size)
    return result


def _measure_gzip(path: Path, folder: Path, size: float) -> dict[str, Any]:
    zipped = path.with_suffix(".jsonl.gz")
    with path.open("rb") as plain_file, gzip.open(zipped, "wb", compresslevel=6) as file:
        while data := plain_file.read(1 << 22):
            file.write(data)
    path.unlink()
    plain = timed(parse_plainly, zipped, folder / "plain-gz.parquet")
    ours = min(timed(parse, zipped, folder / "ours-gz.parquet") for _ in range(2))
    assert plain.n_rows == ours.n_rows, (plain, ours)
    print(_line("gzip, plain", plain, size))
    print(_line("gzip, dskd", ours, size))
    return {
        "gzip_speedup": round(plain.seconds / ours.seconds, 2),
        "gzip_speedup_cpu": round(plain.cpu_seconds / ours.cpu_seconds, 2),
        "gzip_peak_mb": round(ours.peak_mb),
    }


def _line(name: str, took: Took, size: float) -> str:
    return (
        f"{name:11} {took.seconds:7.2f} s, {took.cpu_seconds:7.2f} s of processor, "
        f"{size / took.seconds:4.0f} MB/s, {took.peak_mb:5.0f} MB of memory"
    )


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--entries", type=Path, nargs="*", default=[])
    parser.add_argument("--no-gzip", action="store_true")
    options = parser.parse_args()
    result = measure(
        megabytes=options.megabytes, entries=options.entries, with_gzip=not options.no_gzip
    )
    print(json.dumps(machine() | result))


if __name__ == "__main__":
    main()
