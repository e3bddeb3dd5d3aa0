"""How fast the explorer answers, on a dictionary of a large teacher's size or on one of yours.

    python -m benchmarks.explorer [--root ROOT] [--tokens 70000] [--senses 10] [--width 4096]

Without a root a dictionary of random senses is written to a temporary folder first (5.7 GB at the
default size): one word a token, 924,000 synonym and 76,000 antonym pairs at 70,000 tokens, three
examples a sense, no teacher's head. Another process then serves it on the loopback and asks itself,
one request after the other, as a browser would.

The last line is JSON: search_ms is the 95th percentile of a search as it is typed, letter by
letter; page_ms that of the first page, words' pages and pairs' pages; first_page_ms the first page
of all, after the dictionary was opened, which took open_ms; map_ms that of PCA maps of three words;
index_ms is what the index of a dictionary over 512 MiB takes to build, which its pages wait for in
the background, and nearest_ms one sense's nearest senses after that; peak_mb is the most
memory that was resident in the serving process.
"""

import argparse
import json
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import uvicorn

from benchmarks.machine import machine
from dskd_core.explorer.app import make_app
from dskd_core.explorer.shelf import Shelf
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work

SYNONYMS_A_TOKEN, ANTONYMS_A_TOKEN = 13.2, 1.085
EXAMPLES_A_SENSE = 3
ROW_GROUP = 16_384
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyz"))
CONTEXT = "of the river and in the garden was a quiet house near the stone and it had stood there"


def make_words(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n distinct words of four to nine letters."""
    words: dict[str, None] = {}
    while len(words) < n:
        letters = rng.choice(LETTERS, (n, 9))
        lengths = rng.integers(4, 10, n)
        words |= {"".join(w[:k]): None for w, k in zip(letters, lengths, strict=True)}
    return np.array(list(words)[:n])


def make_pairs(words: np.ndarray, rng: np.random.Generator) -> pa.Table:
    """Return distinct pairs of words, as many a word as the paper's lexicon has."""
    tables = []
    for relation, a_token in (("synonym", SYNONYMS_A_TOKEN), ("antonym", ANTONYMS_A_TOKEN)):
        ends = np.sort(rng.integers(0, len(words), (int(len(words) * a_token), 2)), axis=1)
        ends = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
        n = len(ends)
        columns = {
            "word_a": words[ends[:, 0]],
            "word_b": words[ends[:, 1]],
            "relation": [relation] * n,
            "weight": rng.random(n, np.float32),
            "tier": ["source"] * n,
            "affix": [""] * n,
            "parent": [""] * n,
            "licences": [["CC BY-SA 4.0"]] * n,
            "sources": [["wiktextract"]] * n,
        }
        tables.append(pa.table(columns))
    return pa.concat_tables(tables).sort_by([("word_a", "ascending"), ("word_b", "ascending")])


def write_large(draft: Draft, name: str, table: pa.Table) -> None:
    """Write a table in the row groups that dskd writes."""
    pq.write_table(table, draft.path(name), row_group_size=ROW_GROUP, compression="zstd")


@dataclass(frozen=True)
class RandomDictionary:
    """A dictionary of random senses, one word a token, and what the explorer reads of its inputs.

    Attributes:
        rng: whose draws are taken in the order in which the artifacts are written.
        words: [n_tokens], their texts.
        pairs: of words.
        n_senses: of a token.
        width: d.
    """

    rng: np.random.Generator
    words: np.ndarray
    pairs: pa.Table
    n_senses: int
    width: int

    @property
    def n_rows(self) -> int:
        """All senses."""
        return len(self.words) * self.n_senses

    def fill_teacher(self, draft: Draft) -> None:
        """Say that there is none."""
        draft.report["source"] = "none: random senses"

    def fill_senses(self, draft: Draft) -> None:
        """Write counts and examples of all senses."""
        group, n_tokens = draft.write_group("senses.zarr"), len(self.words)
        counts = self.rng.integers(1, 200, self.n_rows).astype(np.int32)
        put_array(group, "tokens", np.arange(n_tokens, dtype=np.int32))
        put_array(group, "counts", counts)
        sums = counts.reshape(n_tokens, self.n_senses).sum(axis=1)
        put_array(group, "n_occurrences", sums.astype(np.int32))
        n = self.n_rows * EXAMPLES_A_SENSE
        token = np.repeat(np.arange(n_tokens, dtype=np.int32), self.n_senses * EXAMPLES_A_SENSE)
        sense = np.tile(np.repeat(np.arange(self.n_senses), EXAMPLES_A_SENSE), n_tokens)
        texts = np.char.add(" ", self.words)
        columns = {
            "token_id": token,
            "token": pa.array(texts[token]),
            "sense": sense.astype(np.int16),
            "rank": np.tile(np.arange(EXAMPLES_A_SENSE, dtype=np.int16), self.n_rows),
            "document_id": pa.repeat("document", n),
            "left": pa.repeat(CONTEXT, n),
            "written": pa.array(texts[token]),
            "right": pa.repeat(CONTEXT, n),
        }
        write_large(draft, "examples.parquet", pa.table(columns))

    def fill_relations(self, draft: Draft) -> None:
        """Write the pairs, each of one origin."""
        write_large(draft, "pairs.parquet", self.pairs)
        n = len(self.pairs)
        origins = self.pairs.drop_columns(["sources"])
        origins = origins.append_column("source", pa.repeat("roget", n))
        for name in ("pos", "sense"):
            origins = origins.append_column(name, pa.repeat("", n))
        origins = origins.append_column("tags", pa.array([[]] * n, pa.list_(pa.string())))
        write_large(draft, "origins.parquet", origins)

    def fill_words(self, draft: Draft) -> None:
        """Write that every token is a word."""
        numbers = np.arange(len(self.words), dtype=np.int32)
        draft.write_table("headwords.parquet", pa.table({"token_id": numbers, "word_id": numbers}))

    def fill_dictionary(self, draft: Draft) -> None:
        """Write the rows, 4,096 different ones in four orders, and whose they are."""
        group, n_tokens = draft.write_group("dictionary.zarr"), len(self.words)
        pool = self.rng.normal(size=(4096, self.width)).astype(np.float16)
        blocks = [pool[self.rng.permutation(4096)] for _ in range(4)]
        whole = (blocks[i % 4] for i in range(self.n_rows // 4096))
        put_array(group, "rows", *whole, pool[: self.n_rows % 4096])
        offsets = np.arange(n_tokens + 1, dtype=np.int64) * self.n_senses
        put_array(group, "own_offsets", offsets)
        columns = {
            "word_id": np.arange(n_tokens, dtype=np.int32),
            "word": self.words,
            "token_ids": pa.array([[i] for i in range(n_tokens)], pa.list_(pa.int32())),
            "row_start": offsets[:-1],
            "row_stop": offsets[1:],
        }
        draft.write_table("words.parquet", pa.table(columns))
        draft.counts |= {"words": n_tokens, "tokens_with_senses": n_tokens, "rows": self.n_rows}


def write_root(root: str, n_tokens: int, n_senses: int, width: int) -> None:
    """Publish a random dictionary and its inputs."""
    rng, store = np.random.default_rng(0), ArtifactStore(root)
    words = make_words(n_tokens, rng)
    random = RandomDictionary(rng, words, make_pairs(words, rng), n_senses, width)
    made: dict[str, Artifact] = {}
    for stage, needs, fill in (
        ("teacher", (), random.fill_teacher),
        ("senses", ("teacher",), random.fill_senses),
        ("relations", (), random.fill_relations),
        ("words", ("relations",), random.fill_words),
        ("dictionary", ("senses", "words"), random.fill_dictionary),
    ):
        work = Work(stage, {}, {name: made[name].fingerprint for name in needs})
        with store.publish(work) as draft:
            fill(draft)
        made[stage] = store.get(stage, work.fingerprint)


def measure(root: str) -> dict[str, float]:
    """Serve a root on the loopback and ask for pages; return milliseconds and megabytes."""
    shelf = Shelf(root)
    started = time.perf_counter()
    opened = shelf.dictionary()
    _ = opened.head
    report = {"open_ms": milliseconds(started)}
    words = opened.most_frequent(40)
    server, thread, address = start(shelf)

    def ask(path: str, **parameters: str) -> float:
        query = f"?{urlencode(parameters)}" if parameters else ""
        before = time.perf_counter()
        with urllib.request.urlopen(f"{address}{path}{query}") as answer:
            answer.read()
        return milliseconds(before)

    report["first_page_ms"] = ask("/")
    typed = [word[:n] for word in words[:12] for n in range(1, len(word) + 1)]
    report["search_ms"] = worst([ask("/search", q=text) for text in typed])
    pages = [ask("/") for _ in range(5)] + [ask("/word", q=word) for word in words[:20]]
    pages += [ask("/pair", a=a, b=b) for a, b in zip(words[:9], words[9:18], strict=True)]
    report["page_ms"] = worst(pages)
    maps = [", ".join(words[i : i + 3]) for i in range(0, 15, 3)]
    report["map_ms"] = worst([ask("/map", q=text) for text in maps])
    if opened.rows.wants_index:
        started = time.perf_counter()
        shelf.index().wait()
        report["index_ms"] = milliseconds(started)
    report["nearest_ms"] = ask("/nearest", row="0")
    report["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    server.should_exit = True
    thread.join()
    return {name: round(value, 1) for name, value in report.items()}


def start(shelf: Shelf) -> tuple[uvicorn.Server, threading.Thread, str]:
    """Serve on a free port in a thread."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(make_app(shelf), log_level="error"))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    while not server.started:
        time.sleep(0.01)
    return server, thread, f"http://127.0.0.1:{listening.getsockname()[1]}"


def milliseconds(since: float) -> float:
    """Return the milliseconds since a moment of the performance counter."""
    return (time.perf_counter() - since) * 1e3


def worst(times: list[float]) -> float:
    """Return the 95th percentile."""
    return float(np.quantile(times, 0.95))


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", help="serve this root's newest dictionary")
    parser.add_argument("--tokens", type=int, default=70_000)
    parser.add_argument("--senses", type=int, default=10)
    parser.add_argument("--width", type=int, default=4_096)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if empty")
    options = parser.parse_args()
    if options.root:
        report = measure(options.root)
        for name, value in report.items():
            print(f"{name:14} {value:10,.1f}")
        print(json.dumps(machine() | report))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        started = time.perf_counter()
        write_root(folder, options.tokens, options.senses, options.width)
        size = options.tokens * options.senses * options.width * 2 / 1e9
        print(f"wrote {size:.2f} GB of senses in {milliseconds(started) / 1e3:.0f} s", flush=True)
        command = [sys.executable, "-m", "benchmarks.explorer", "--root", folder]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
