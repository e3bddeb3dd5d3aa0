"""What extraction costs beside the bare forward pass of the teacher that it cannot do without.

    python -m benchmarks.extraction [--root work/benchmarks] [--batches 2] [--rounds 5]
    python -m benchmarks.extraction --slow-store 3 [--shards 4]

The teacher is SmolLM2 as ``prepare_teacher`` makes it from the sample, the text the sample corpus.
A round runs, over the same batches in turn: the base model alone, without a head and keeping
nothing; ``extract_shard`` with the key ``next``; ``extract_shard`` with the key ``predicted``. The
cap is out of reach, so every state is filed, sorted, checked, written, hashed and published. At
the end the stored states are compared with those of the bare pass, bit by bit.

Before that, the census of the whole corpus is shown for some caps: what extraction skips.

With --slow-store nothing of that runs. Shards of the same batches are extracted into a store that
takes so many seconds more to publish each: one after the other in one thread, and in two threads as
a flow does it, where one is published while the next is computed. Both publish the same bytes.

The last line is JSON: time_vs_bare_forward is the median over the rounds of a round's own ratio;
cpu_vs_bare_forward the same in processor seconds, which other load on the machine disturbs less.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from dskd_core.config import CorpusConfig, EmbeddingsConfig, TeacherConfig
from dskd_core.corpus.store import Windows, build_corpus, load_windows
from dskd_core.decoder.batches import padded
from dskd_core.decoder.decoder import Decoder, load_teacher
from dskd_core.decoder.states import encode_states
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.extraction import training_batches
from dskd_core.embeddings.layout import SHARD
from dskd_core.embeddings.store import extract_shard
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.shards import Shard
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Draft
from dskd_core.store.drafts import Hold

KEYS = ("next", "predicted")
UNCAPPED = 10**6


@dataclass(frozen=True)
class Bench:
    """The inputs of every round."""

    config: TeacherConfig
    teacher: Artifact
    corpus: Artifact
    windows: Windows
    model: Decoder
    batches: list[np.ndarray]
    shard: Shard
    batch_tokens: int

    def settings(self, key: str) -> EmbeddingsConfig:
        """Return the settings of an extraction that keeps everything."""
        values = {"key": key, "max_occurrences": UNCAPPED, "batch_tokens": self.batch_tokens}
        return EmbeddingsConfig.model_validate(values)

    @torch.inference_mode()
    def bare(self, keep: Callable[[np.ndarray, torch.Tensor], None] | None = None) -> None:
        """Run the base model over the batches."""
        prefix = self.windows.prefix
        for batch in self.batches:
            ids = padded([self.windows.window(int(w)) for w in batch], prefix)
            body = self.model.model.base_model
            out = body(input_ids=ids.to(self.model.device), use_cache=False).last_hidden_state
            if keep is not None:
                keep(batch, out[:, len(prefix) :])
        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)

    def extract(self, key: str, root: str) -> Artifact:
        """Extract the shard of the same batches under a root where it never was."""
        return extract_shard(
            ArtifactStore(root),
            self.settings(key),
            self.config,
            self.teacher,
            self.corpus,
            self.shard,
        )


def prepare(root: str, n_batches: int, batch_tokens: int, device: str) -> Bench:
    """Make or find the teacher and the corpus, and choose batches of the middle lengths."""
    store = ArtifactStore(root)
    config = TeacherConfig(device=device)
    teacher = prepare_teacher(store, config)
    corpus = build_corpus(
        store,
        CorpusConfig(max_document_tokens=2500, max_tokens=210_000, heldout_share=0.12),
        teacher,
    )
    windows = load_windows(corpus)
    settings = EmbeddingsConfig(key="next", max_occurrences=UNCAPPED, batch_tokens=batch_tokens)
    batches = training_batches(take_census(windows, settings), settings)
    start = (len(batches) - n_batches) // 2
    shard = Shard(0, 1, start, start + n_batches)
    model = load_teacher(teacher, config)
    chosen = batches[shard.start : shard.stop]
    return Bench(config, teacher, corpus, windows, model, chosen, shard, batch_tokens)


def show_census(windows: Windows) -> None:
    """Print what the census of the whole corpus lets extraction skip."""
    training = ~windows.heldout
    n_windows, n_positions = int(training.sum()), int(windows.lengths[training].sum())
    for cap in (1, 5, 20, 100, 2000):
        started = time.perf_counter()
        census = take_census(windows, EmbeddingsConfig(key="next", max_occurrences=cap))
        took = time.perf_counter() - started
        rows = int(np.minimum(census.counts, cap).sum())
        skipped = n_windows - int((census.lengths > 0).sum())
        cut = n_positions - int(census.lengths.sum())
        print(
            f"census, next, cap {cap:5}: {rows:7,} rows; skips {skipped} of {n_windows} windows "
            f"and {cut:,} of {n_positions:,} positions ({cut / n_positions:.1%}); {took:.2f} s"
        )


def check(bench: Bench, parts: dict[str, Artifact]) -> None:
    """Assert that extraction stored the very states of the bare pass, and predicted its argmax."""
    wanted: dict[tuple[int, int], np.ndarray] = {}

    def keep(batch: np.ndarray, out: torch.Tensor) -> None:
        for line, window in zip(out, batch.tolist(), strict=True):
            n = int(bench.windows.lengths[window])
            start, document = bench.windows.starts[window], int(bench.windows.documents[window])
            bits = encode_states(line[:n], bench.settings("next").state_dtype)
            wanted.update({(document, int(start) + t): bits[t] for t in range(n)})

    bench.bare(keep)
    for key, part in parts.items():
        group = part.group(SHARD)
        states, documents, positions = (
            get_array(group, name) for name in ("states", "documents", "positions")
        )
        for state, document, position in zip(states, documents, positions, strict=True):
            np.testing.assert_array_equal(state, wanted[int(document), int(position)])
        print(f"{key}: {len(states):,} stored states equal those of the bare pass bit by bit")


def measure(bench: Bench, n_rounds: int) -> dict[str, dict[str, float]]:
    """Time all three in turn, round by round."""
    wall: dict[str, list[float]] = {key: [] for key in ("bare", *KEYS)}
    cpu: dict[str, list[float]] = {key: [] for key in ("bare", *KEYS)}
    parts: dict[str, Artifact] = {}
    with tempfile.TemporaryDirectory() as folder:
        bench.bare()
        for number in range(n_rounds):
            for key in ("bare", *KEYS):
                started, used = time.perf_counter(), time.process_time()
                if key == "bare":
                    bench.bare()
                else:
                    parts[key] = bench.extract(key, str(Path(folder, str(number))))
                wall[key].append(time.perf_counter() - started)
                cpu[key].append(time.process_time() - used)
            print("  ".join(f"{key} {times[-1]:.2f} s" for key, times in wall.items()), flush=True)
        check(bench, parts)
    return {
        name: {
            key: round(
                statistics.median(t / b for t, b in zip(times[key], times["bare"], strict=True)), 3
            )
            for key in KEYS
        }
        for name, times in (("time_vs_bare_forward", wall), ("cpu_vs_bare_forward", cpu))
    }


class SlowStore(ArtifactStore):
    """A store that takes long to publish, as one across a network does.

    Attributes:
        waits: seconds that publishing takes more.
    """

    waits = 0.0

    @classmethod
    def _commit(cls, uri: str, draft: Draft, hold: Hold) -> None:
        time.sleep(cls.waits)
        ArtifactStore._commit(uri, draft, hold)


def beside(bench: Bench, n_shards: int, waits: float) -> dict[str, float]:
    """Time shards one after the other, and each published while the next one is computed."""
    settings, size = bench.settings("next"), bench.shard.stop - bench.shard.start
    first = bench.shard.start - size * (n_shards // 2)
    shards = [Shard(i, n_shards, first + i * size, first + (i + 1) * size) for i in range(n_shards)]

    def seconds(n_threads: int, waits: float) -> tuple[float, list[Artifact]]:
        SlowStore.waits = waits
        with tempfile.TemporaryDirectory() as root, ThreadPoolExecutor(n_threads) as pool:
            started = time.perf_counter()
            made = pool.map(
                lambda shard: extract_shard(
                    *(SlowStore(root), settings, bench.config, bench.teacher, bench.corpus, shard)
                ),
                shards,
            )
            found = list(made)
            return time.perf_counter() - started, found

    computing, _ = seconds(1, 0.0)
    in_turn, alone = seconds(1, waits)
    together, two = seconds(2, waits)
    for one, other in zip(alone, two, strict=True):
        assert one.record.files == other.record.files
    publishing = waits * n_shards
    larger = max(computing, publishing)
    told = {"computing": computing, "publishing": publishing, "in_turn": in_turn}
    told |= {"beside": together, "larger": larger, "beside_vs_larger": together / larger}
    return {name: round(value, 2) for name, value in told.items()}


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", default="work/benchmarks")
    parser.add_argument("--batches", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--slow-store", type=float, default=0.0, help="seconds a shard")
    parser.add_argument("--shards", type=int, default=4)
    options = parser.parse_args()
    bench = prepare(options.root, options.batches, options.batch_tokens, options.device)
    if options.slow_store:
        here = machine(options.device, bench.model.precision)
        print(json.dumps(here | beside(bench, options.shards, options.slow_store)))
        return
    show_census(bench.windows)
    n_tokens = sum(int(bench.windows.lengths[batch].sum()) for batch in bench.batches)
    print(f"{len(bench.batches)} batches, {n_tokens:,} tokens, on {bench.model.device}")
    here = machine(options.device, bench.model.precision)
    print(json.dumps(here | measure(bench, options.rounds)))


if __name__ == "__main__":
    main()
