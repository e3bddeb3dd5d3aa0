"""How time, memory and files of clustering and composing grow, and whether a big inventory fits.

    python -m benchmarks.growth [--quick] [--part sizes|inventory] [--folder DIR]

Embeddings are random states (time, bytes and files do not depend on what they mean), written in the
layout of their stage, in parts of 2,000 rows. First sizes 10 x apart (2,000, 20,000, 200,000 rows
of width 576, 100 rows a token, k = 5). Then one inventory as wide as Llama-3's: 69,832 tokens of
width 4,096, 4 rows a token, k = 2, in 16 parts, with a list of 20,000 words of one to three tokens;
it goes through cluster, collect, compose (Eq. 2) and verify. ``--quick`` takes a tenth of each.

Every stage runs in a process of its own. ``peak_bytes`` is the most memory that process held,
``above_start_bytes`` the part of it that came after Python and its libraries were loaded; page
cache is not in it. The last line is JSON; an exponent e says that the figure grew like n^e from the
second size to the third, so 1 is linear.
"""

import argparse
import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.machine import machine
from dskd_core.config import DictionaryConfig, RelationsConfig, SensesConfig
from dskd_core.decoder.precision import resolved_senses
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.dictionary.store import build_dictionary
from dskd_core.embeddings.extraction import Occurrences
from dskd_core.embeddings.layout import INDEX, SHARD, write_shard
from dskd_core.senses.store import cluster_range, collect_senses, plan_ranges
from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft, Work
from dskd_core.store.verification import verify

_DOCUMENT_TOKENS = 1000


@dataclass(frozen=True)
class Size:
    """What is simulated.

    Attributes:
        n_tokens: tokens with embeddings; the vocabulary has one more, the unknown token.
        rows_a_token: embeddings of each.
        width: d.
        n_shards: shards they lie in.
        n_senses: k.
        n_words: words of one, two or three tokens; a third of the single ones are headwords.
        batch_bytes: the memory budget of clustering.
    """

    n_tokens: int
    rows_a_token: int
    width: int
    n_shards: int
    n_senses: int
    n_words: int
    batch_bytes: int

    @property
    def n_rows(self) -> int:
        """All embeddings."""
        return self.n_tokens * self.rows_a_token

    @property
    def config(self) -> SensesConfig:
        """Settings of clustering."""
        return SensesConfig(
            n_senses=self.n_senses,
            device="cpu",
            batch_bytes=self.batch_bytes,
            shard_rows=40_000,
            n_examples=1,
            context_tokens=4,
        )


def published(store: ArtifactStore, work: Work, fill: Callable[[Draft], None]) -> Artifact:
    """Publish an artifact that needs no computing."""
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        fill(draft)
    return store.get(work.stage, work.fingerprint)


def simulate_text(store: ArtifactStore, size: Size) -> tuple[Artifact, Artifact]:
    """Write a teacher that is only a tokenizer, and a corpus in which every token follows another.

    Occurrence ``i`` of all stands at position ``i`` of the running text.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def fill_teacher(draft: Draft) -> None:
        vocabulary = {f"t{i}": i for i in range(size.n_tokens)} | {"?": size.n_tokens}
        tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")
        fast.save_pretrained(str(draft.folder))
        draft.report["source"] = "simulated"

    teacher = published(store, Work("teacher", asdict(size), {}), fill_teacher)
    ids = np.arange(size.n_rows) % size.n_tokens
    bounds = np.append(np.arange(0, len(ids), _DOCUMENT_TOKENS), len(ids))
    n_documents = len(bounds) - 1

    def fill_corpus(draft: Draft) -> None:
        group = draft.write_group("windows.zarr")
        put_array(group, "token_ids", ids.astype(np.int32))
        put_array(group, "offsets", bounds.astype(np.int64))
        put_array(group, "documents", np.arange(n_documents, dtype=np.int32))
        put_array(group, "starts", np.zeros(n_documents, np.int32))
        put_array(group, "heldout", np.zeros(n_documents, bool))
        group.attrs["prefix"] = []
        columns = {
            "document_id": [f"document {i}" for i in range(n_documents)],
            "key": pa.array(range(n_documents), pa.uint64()),
        }
        draft.write_table("documents.parquet", pa.table(columns))
        draft.counts |= {"n_documents": n_documents, "n_tokens": len(ids)}

    inputs = {"tokenizer": load_tokenizer(teacher.folder()).fingerprint}
    return teacher, published(store, Work("corpus", {"format": "simulated"}, inputs), fill_corpus)


def simulate_embeddings(store: ArtifactStore, size: Size) -> Artifact:
    """Write random states as parts, one at a time, and the index over them."""
    teacher, corpus = simulate_text(store, size)
    inputs = {"teacher": teacher.fingerprint, "corpus": corpus.fingerprint}
    rows_a_shard = -(-size.n_rows // size.n_shards)
    parts = []
    for number in range(size.n_shards):
        places = np.arange(number * rows_a_shard, min(size.n_rows, (number + 1) * rows_a_shard))
        by_token = places[np.argsort(places % size.n_tokens, kind="stable")]
        occurrences = Occurrences(
            (by_token % size.n_tokens).astype(np.int32),
            (by_token // _DOCUMENT_TOKENS).astype(np.int32),
            (by_token % _DOCUMENT_TOKENS).astype(np.int32),
            by_token.astype(np.uint64),
        )

        def fill_part(draft: Draft, number: int = number, rows: Occurrences = occurrences) -> None:
            rng = np.random.default_rng(number)
            shape = (len(rows.tokens), size.width)
            states = np.empty(shape, np.float16)
            for start in range(0, len(states), 4096):
                states[start : start + 4096] = rng.standard_normal(
                    (min(4096, len(states) - start), size.width), dtype=np.float32
                )
            met = np.bincount(rows.tokens, minlength=size.n_tokens)
            write_shard(draft.write_group(SHARD), states, rows, met, "float16")

        parts.append(
            published(store, Work("embeddings-shard", {"part": number}, inputs), fill_part)
        )

    def fill_index(draft: Draft) -> None:
        group = draft.write_group(INDEX)
        n_rows = np.full(size.n_tokens, size.rows_a_token, np.int64)
        put_array(group, "tokens", np.arange(size.n_tokens, dtype=np.int32))
        put_array(group, "n_rows", n_rows)
        put_array(group, "n_occurrences", n_rows)
        put_array(group, "limits", np.full(size.n_tokens, 2**64 - 1, np.uint64))
        group.attrs.update({"hidden_size": size.width, "dtype": "float16", "key": "input"})
        draft.counts |= {"tokens": size.n_tokens, "rows": size.n_rows, "parts": len(parts)}
        draft.report["parts"] = [part.fingerprint for part in parts]

    return published(store, Work("embeddings", {"key": "input"}, inputs), fill_index)


def simulate_words(store: ArtifactStore, size: Size) -> Artifact:
    """Write words of one to three tokens, each single one with two neighbours."""
    rng = np.random.default_rng(1)
    spans = np.arange(size.n_words) % 3 + 1
    spelled = [rng.integers(0, size.n_tokens, span).tolist() for span in spans]
    headwords = np.flatnonzero(spans == 1)
    sources = [{"kind": "simulated", "file": "none", "licence": "CC0"}]
    lexicon = published(
        store,
        Work("lexicon", {"sources": sources}, {}),
        lambda draft: None,
    )
    relations = published(
        store,
        Work(
            "relations", RelationsConfig().model_dump(mode="json"), {"lexicon": lexicon.fingerprint}
        ),
        lambda draft: draft.write_table("pairs.parquet", pa.table({"licences": [["CC0"]]})),
    )

    def fill(draft: Draft) -> None:
        columns = {
            "word_id": pa.array(range(size.n_words), pa.int32()),
            "word": [f"word {i}" for i in range(size.n_words)],
            "token_ids": pa.array(spelled, pa.list_(pa.int32())),
            "n_tokens": pa.array(spans, pa.int32()),
        }
        draft.write_table("spellings.parquet", pa.table(columns))
        tokens = pa.array([spelled[i][0] for i in headwords], pa.int32())
        table = pa.table({"token_id": tokens, "word_id": pa.array(headwords, pa.int32())})
        draft.write_table("headwords.parquet", table)
        neighbours = {
            "headword": pa.array(np.repeat(headwords, 2), pa.int32()),
            "neighbour": pa.array(rng.integers(0, size.n_words, 2 * len(headwords)), pa.int32()),
            "relation": ["synonym", "antonym"] * len(headwords),
            "weight": np.ones(2 * len(headwords)),
            "tier": ["source"] * (2 * len(headwords)),
        }
        draft.write_table("neighbours.parquet", pa.table(neighbours))

    teacher, _ = simulate_text(store, size)
    tokenizer = load_tokenizer(teacher.folder()).fingerprint
    inputs = {"relations": relations.fingerprint, "tokenizer": tokenizer}
    return published(store, Work("words", {"n_words": size.n_words}, inputs), fill)


def cluster_all(store: ArtifactStore, size: Size) -> list[Artifact]:
    """Cluster every range."""
    _, corpus = simulate_text(store, size)
    embeddings = simulate_embeddings(store, size)
    ranges = plan_ranges(embeddings, store, size.config)
    return [cluster_range(store, size.config, embeddings, corpus, shard) for shard in ranges]


def collect(store: ArtifactStore, size: Size) -> Artifact:
    """Join the ranges into the inventory."""
    teacher, corpus = simulate_text(store, size)
    embeddings = simulate_embeddings(store, size)
    parts = cluster_all(store, size)
    return collect_senses(store, size.config, embeddings, corpus, teacher, parts)


def compose(store: ArtifactStore, size: Size) -> Artifact:
    """Join senses and words."""
    _, corpus = simulate_text(store, size)
    senses, words = collect(store, size), simulate_words(store, size)
    return build_dictionary(store, DictionaryConfig(), senses, words, corpus)


def check(store: ArtifactStore, size: Size) -> None:
    """Verify the dictionary and the senses, and refuse a problem."""
    for stage in ("senses", "dictionary"):
        found = verify(store.of_stage(stage)[0].uri)
        if found.problems:
            raise SystemExit(f"verify found {[str(problem) for problem in found.problems]}")


STAGES: dict[str, Callable[[ArtifactStore, Size], object]] = {
    "simulate": lambda store, size: (simulate_embeddings(store, size), simulate_words(store, size)),
    "cluster": cluster_all,
    "collect": collect,
    "compose": compose,
    "verify": check,
}


def peak_bytes() -> int:
    """Return the most memory this process has held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run_here(stage: str, folder: Path, size: Size) -> dict[str, float]:
    """Run a stage in this process; what it needs must stand already."""
    store = ArtifactStore(str(folder))
    before, started = peak_bytes(), time.perf_counter()
    STAGES[stage](store, size)
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "peak_bytes": peak_bytes(),
        "above_start_bytes": peak_bytes() - before,
    }


def run_apart(stage: str, folder: Path, size: Size) -> dict[str, float]:
    """Run a stage in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.growth", "--stage", stage]
    command += ["--folder", str(folder), "--size", json.dumps(asdict(size))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return report


def through_all(folder: Path, size: Size) -> dict[str, dict[str, float]]:
    """Run every stage, show it, and return its figures; the folder is removed after."""
    n_bytes, report = size.n_rows * size.width * 2, {}
    print(
        f"{size.n_rows:,} rows of {size.n_tokens:,} tokens x {size.width}: {n_bytes / 1e6:,.0f} MB "
        f"in {size.n_shards} shards; budget {size.batch_bytes >> 20} MiB a batch",
        flush=True,
    )
    for stage in STAGES:
        before = contents(folder)
        report[stage] = run_apart(stage, folder, size)
        after = contents(folder)
        report[stage] |= {"files": after[0] - before[0], "bytes": after[1] - before[1]}
        print(f"  {stage:9} {report[stage]}", flush=True)
    shutil.rmtree(folder)
    return report


def contents(folder: Path) -> tuple[int, int]:
    """Return the files below a folder and their bytes."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def exponents(reports: list[dict[str, dict[str, float]]], factor: float) -> dict[str, float]:
    """Return how each figure of cluster and compose grew from the last size but one to the last.

    >>> two = [{"cluster": {"seconds": s}} for s in (2.0, 16.0)]
    >>> exponents(two, 8.0)
    {'cluster_seconds': 1.0}
    """
    small, large = reports[-2:]
    return {
        f"{stage}_{name}": round(math.log(large[stage][name] / small[stage][name], factor), 3)
        for stage in ("cluster", "collect", "compose")
        if stage in small
        for name in ("seconds", "peak_bytes", "files", "bytes")
        if small[stage].get(name) and large[stage].get(name)
    }


def main() -> None:
    """Run the benchmark, or one stage of it, and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to write; a temporary folder if empty")
    parser.add_argument("--quick", action="store_true", help="a tenth of every size")
    parser.add_argument("--part", choices=["sizes", "inventory"], help="only this; both if empty")
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stage:
        size = Size(**json.loads(options.size))
        print(json.dumps(run_here(options.stage, options.folder, size)))
        return
    share = 10 if options.quick else 1
    rows = [n // share for n in (2_000, 20_000, 200_000)]
    sizes = [Size(n // 100, 100, 576, -(-n // 2000), 5, n // 20, 64 << 20) for n in rows]
    wide = Size(69_832 // share, 4, 4096, 16, 2, 20_000 // share, 256 << 20)
    precision = resolved_senses(wide.config).coarse_dtype
    report: dict[str, object] = dict(machine(precision=precision))
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        if options.part != "inventory":
            figures = [through_all(Path(folder) / str(size.n_rows), size) for size in sizes]
            report |= {"rows": rows, "exponents": exponents(figures, 10.0), "sizes": figures}
        if options.part != "sizes":
            report["inventory"] = asdict(wide) | through_all(Path(folder) / "inventory", wide)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
