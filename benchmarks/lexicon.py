"""Speed and memory of the right branch: reading Wiktextract, and pairs from file to CSR.

    python -m benchmarks.lexicon            1, 3 and 10 million pairs, and Wiktextract
    python -m benchmarks.lexicon --quick    1 million pairs only

Pairs are synthetic: real words of MorphyNet, the common drawn more often, one in ten pairs
antonyms, always the same. Each size runs in a process of its own, so that its peak of memory is
its own, through the stages as a user runs them: a word-pair file is read and normalised, pairs
are matched, expanded and settled, words spelled, and the links of every token laid out as CSR.
A plain Python version of matching, expanding and settling gives the same pairs, for comparison.
The last line is JSON.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import machine
from dskd_core.config import (
    DictionaryConfig,
    LexiconConfig,
    RelationsConfig,
    SourceConfig,
    WordsConfig,
)
from dskd_core.dictionary.neighbours import Csr
from dskd_core.dictionary.store import list_neighbours
from dskd_core.lexicon import build_lexicon
from dskd_core.lexicon.rows import DerivationRow
from dskd_core.relations import build_relations
from dskd_core.relations.affix_matching import find_negations
from dskd_core.samples import resolve
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.words import build_words

SIZES = (1_000_000, 3_000_000, 10_000_000)
N_PLAIN = 100_000
_BATCH = 250_000
N_SENSES = 5
_STAGES = ("read", "relate", "spell", "lay out")
_COLUMNS = ("word_a", "word_b", "relation", "pos")
_LABELLED = ("word_a", "word_b", "relation")


def write_pairs(path: Path, n_pairs: int) -> None:
    """Write a Parquet file of pairs drawn from the words of MorphyNet."""
    nodes = json.loads(Path(resolve("sample:morphynet")).read_text("utf-8"))
    words = np.array(sorted(word for word in nodes if word.isascii() and len(word) > 2))
    rng = np.random.default_rng(0)
    rng.shuffle(words)
    parts = np.array(["noun", "verb", "adj", ""])
    with pq.ParquetWriter(path, pa.schema([(n, pa.string()) for n in _COLUMNS])) as writer:
        for start in range(0, n_pairs, _BATCH):
            n = min(_BATCH, n_pairs - start)
            first, second = (words[(len(words) * rng.random(n) ** 3).astype(int)] for _ in "ab")
            relation = np.where(rng.random(n) < 0.1, "antonym", "synonym")
            columns = (first, second, relation, parts[rng.integers(0, 4, n)])
            writer.write_table(pa.table(dict(zip(_COLUMNS, map(pa.array, columns), strict=True))))


def write_tokenizer(store: ArtifactStore) -> Artifact:
    """Publish a teacher that is a tokenizer and nothing else."""
    from transformers import AutoTokenizer

    gguf = Path(resolve("sample:smollm2-135m"))
    work = Work("teacher", {}, {})
    with store.publish(work) as draft:
        hf = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
        hf.save_pretrained(str(draft.folder))
    return store.get(work.stage, work.fingerprint)


def to_csr(words: Artifact) -> int:
    """Lay out synonyms and antonyms of every token as the dictionary does; return their rows.

    There is no teacher here, so every word is given as many senses as the paper's Mistral has.
    """
    table = words.table("spellings.parquet")
    starts = np.arange(len(table), dtype=np.int64) * N_SENSES
    table = table.append_column("row_start", pa.array(starts))
    table = table.append_column("row_stop", pa.array(starts + N_SENSES))
    n_tokens = 1 + int(words.table("headwords.parquet")["token_id"].to_numpy().max())
    nothing = Csr(np.zeros(n_tokens + 1, np.int64), np.empty(0, np.int64))
    lists, _ = list_neighbours(DictionaryConfig(), words, table, nothing)
    return sum(len(csr.rows) for csr in lists.values())


def run(n_pairs: int) -> dict[str, Any]:
    """Take ``n_pairs`` from a file to CSR; return seconds by stage and the peak of memory."""
    with tempfile.TemporaryDirectory(prefix="dskd-benchmark-") as folder:
        path = Path(folder) / "pairs.parquet"
        write_pairs(path, n_pairs)
        store = ArtifactStore(str(Path(folder) / "root"))
        teacher = write_tokenizer(store)
        laps, worked = [time.perf_counter()], time.process_time()
        lexicon = build_lexicon(store, lexicon_of(path))
        laps.append(time.perf_counter())
        relations = build_relations(store, RelationsConfig(), lexicon)
        laps.append(time.perf_counter())
        words = build_words(store, WordsConfig(), relations, teacher)
        laps.append(time.perf_counter())
        n_rows = to_csr(words)
        laps.append(time.perf_counter())
        worked = time.process_time() - worked
    return {
        "n_pairs": n_pairs,
        "seconds": round(laps[-1] - laps[0], 2),
        "cpu_seconds": round(worked, 2),
        "stages": [round(after - before, 1) for before, after in pairwise(laps)],
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "n_relations": relations.record.counts["n_pairs"],
        "n_rows": n_rows,
    }


def lexicon_of(path: Path) -> LexiconConfig:
    """Return the settings that read one word-pair file with the default morphology."""
    return LexiconConfig(sources=(SourceConfig(kind="word_pairs", uri=str(path)),))


def compare(n_pairs: int) -> dict[str, float]:
    """Time matching, expanding and settling against plain dictionaries that give the same pairs."""
    with tempfile.TemporaryDirectory(prefix="dskd-benchmark-") as folder:
        path = Path(folder) / "pairs.parquet"
        write_pairs(path, n_pairs)
        store = ArtifactStore(str(Path(folder) / "root"))
        lexicon = build_lexicon(store, lexicon_of(path))
        started = time.perf_counter()
        relations = build_relations(store, RelationsConfig(), lexicon)
        ours = time.perf_counter() - started
        started = time.perf_counter()
        wanted = settle_plainly(lexicon)
        plain = time.perf_counter() - started
        table = relations.table("pairs.parquet")
    rows = zip(*(table[name].to_pylist() for name in _LABELLED), strict=True)
    found = {(*sorted((a.casefold(), b.casefold())), relation) for a, b, relation in rows}
    if found != wanted:
        raise AssertionError(f"{len(found ^ wanted)} of {len(wanted)} pairs differ from plain ones")
    return {"ours": ours, "plain": plain}


def settle_plainly(lexicon: Artifact) -> set[tuple[str, str, str]]:
    """Do what ``relations`` does, row by row: the reference for speed and for its result."""
    config = RelationsConfig()
    rows = [DerivationRow(**row) for row in lexicon.table("derivations.parquet").to_pylist()]
    pairs = lexicon.table("lexicon_pairs.parquet").to_pylist()
    words = {pair[name] for pair in pairs for name in ("word_a", "word_b")}
    keys = {w.casefold() for row in rows for w in (row.word, row.base)}
    keys |= {word.casefold() for word in words}
    negations = defaultdict(set)
    for n in find_negations(rows, words):
        if n.base.casefold() in keys:
            negations[n.word.casefold()].add((n.base.casefold(), n.tier, n.pos))
    best: dict[tuple[str, str], tuple[int, str]] = {}
    ranks = {tier: rank for rank, tier in enumerate(config.negation_tiers, 1)}
    turned = {"synonym": "antonym", "antonym": "synonym"}

    def say(a: str, b: str, rank: int, relation: str) -> None:
        key = (a, b) if a < b else (b, a)
        if a != b and (rank, relation) < best.get(key, (9, "")):
            best[key] = (rank, relation)

    def bases(word: str, pos: str) -> list[tuple[str, int]]:
        return [
            (b, ranks[t]) for b, t, p in negations.get(word, ()) if not p or not pos or p == pos
        ]

    for pair in pairs:
        a, b = pair["word_a"].casefold(), pair["word_b"].casefold()
        relation, pos = pair["relation"], pair["pos"]
        say(a, b, 0, relation)
        of_a, of_b = bases(a, pos), bases(b, pos)
        for base, rank in of_a:
            say(base, b, rank, turned[relation])
        for base, rank in of_b:
            say(a, base, rank, turned[relation])
        for base_a, rank_a in of_a:
            for base_b, rank_b in of_b:
                if max(rank_a, rank_b) < ranks["loose"]:
                    say(base_a, base_b, max(rank_a, rank_b), relation)
    return {(*key, relation) for key, (_, relation) in best.items()}


def in_own_process(n_pairs: int) -> dict[str, Any]:
    """Run one size in a fresh process and print what it took."""
    command = [sys.executable, "-m", "benchmarks.lexicon", "--only", str(n_pairs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    stages = ", ".join(f"{n} {s} s" for n, s in zip(_STAGES, found["stages"], strict=True))
    print(
        f"{n_pairs:>10,} pairs: {found['seconds']} s ({stages}), "
        f"{found['cpu_seconds']} s of processor, peak {found['peak_mb']} MB, "
        f"{found['n_relations']:,} relations, {found['n_rows']:,} rows",
        flush=True,
    )
    return found


def growth(runs: list[dict[str, Any]], name: str) -> float | None:
    """Return the exponent of ``name`` over pairs: the slope of the logarithms, least squares."""
    if len(runs) < 2:
        return None
    x, y = (np.log([found[key] for found in runs]) for key in ("n_pairs", name))
    return round(float(np.polyfit(x, y, 1)[0]), 3)


def parse() -> dict[str, Any]:
    """Return the figures of reading Wiktextract; None where that benchmark is not there."""
    try:
        from benchmarks.wiktextract import measure
    except ImportError:
        print("Wiktextract: not measured, benchmarks/wiktextract.py is not there")
        return {"parse_speedup": None, "parse_peak_mb": None}
    figures = measure()
    return {name: figures[name] for name in ("parse_speedup", "parse_peak_mb")}


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="1 million pairs only")
    parser.add_argument("--only", type=int, help="one size, in this process")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(run(options.only)))
        return
    figures = {"parse_speedup": None, "parse_peak_mb": None} if options.quick else parse()
    print(f"stages: {', '.join(_STAGES)}", flush=True)
    runs = [in_own_process(n) for n in (SIZES[:1] if options.quick else SIZES)]
    peer = compare(N_PLAIN)
    print(
        f"{N_PLAIN:>10,} pairs matched, expanded and settled: {peer['ours']:.1f} s (with all "
        f"origins, samples and checks), plain dictionaries {peer['plain']:.1f} s, the same pairs"
    )
    figures |= {
        "pairs_1m_seconds": runs[0]["seconds"],
        "pairs_peak_mb": runs[0]["peak_mb"],
        "growth_exponent": growth(runs, "seconds"),
        "growth_exponent_cpu": growth(runs, "cpu_seconds"),
        "pairs_cpu_seconds": {str(found["n_pairs"]): found["cpu_seconds"] for found in runs},
        "pairs_seconds": {str(found["n_pairs"]): found["seconds"] for found in runs},
        "pairs_peaks_mb": {str(found["n_pairs"]): found["peak_mb"] for found in runs},
        "plain_seconds_over_ours": round(peer["plain"] / peer["ours"], 2),
    }
    print(json.dumps(machine() | figures))


if __name__ == "__main__":
    main()
