"""What a run spends outside the work of its shards: the same shards by hand, and by a Prefect flow.

    python -m benchmarks.orchestration [--shards 3] [--shard-tokens 65536] [--limit]

Real shards (SmolLM2's states over the sample corpus, of the default size: some 50 s each on two
cores) are first extracted in plain function calls, under one root, and then by a flow of the
project's own tasks with Prefect's server beside it, under another; their bytes are compared. A
shard's record says how long its work took in the very run that made it, so noise of the machine is
not taken for overhead:

    overhead = (wall - work) of the flow - (wall - work) of the plain calls

where the second term is what a shard does before there is anything to record. Progress bars are
drawn while a shard works, and so count as work: wall_share compares the two wall times instead, all
noise of the machine included. Then as many shards as ``--empty`` says that do nothing show what
handing one out, logging and reporting costs. With ``--limit`` the server has the limit
``dskd-gpu``, as that of ``make serve`` does, and every shard holds a slot of it; else, as in
``make run``, none. ``PREFECT_API_URL`` names a running server to measure with instead, such as one
on PostgreSQL; a limit that it has counts (``prefect gcl delete dskd-gpu`` takes it away).

The last line is JSON: overhead_share (of the wall time of the flow), overhead_seconds (a shard),
wall_share, shard_seconds, plain_shard_seconds, empty_shard_seconds, shards_per_minute (of shards
that do nothing), with_limit and server (its URL; null for its own).
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from dskd_core.config import CorpusConfig, EmbeddingsConfig, PipelineConfig, TeacherConfig
from dskd_core.corpus.store import build_corpus
from dskd_core.decoder.decoder import load_teacher
from dskd_core.decoder.precision import resolved_teacher
from dskd_core.embeddings.store import extract_shard, plan_shards
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.shards import Shard
from dskd_core.store.artifacts import Artifact, ArtifactStore
from flows.settings import use_own_prefect

UNCAPPED = 10**6
Flow = Callable[[int], list[str]]


def prepare(options: argparse.Namespace, folder: Path) -> tuple[PipelineConfig, list[Shard]]:
    """Make or find teacher and corpus, load the teacher, and choose shards of the middle."""
    n_tokens = (options.shards + 2) * options.shard_tokens
    config = PipelineConfig(
        root_uri=str(folder / "plain"),
        teacher=TeacherConfig(source=options.teacher),
        corpus=CorpusConfig(max_document_tokens=2500, max_tokens=n_tokens, heldout_share=0.05),
        embeddings=EmbeddingsConfig(max_occurrences=UNCAPPED, shard_tokens=options.shard_tokens),
    )
    store = ArtifactStore(config.root_uri)
    teacher = prepare_teacher(store, config.teacher)
    corpus = build_corpus(store, config.corpus, teacher)
    load_teacher(teacher, config.teacher)
    shards = plan_shards(corpus, config.embeddings)
    first = (len(shards) - options.shards) // 2
    return config, shards[first : first + options.shards]


def inputs(config: PipelineConfig) -> tuple[Artifact, Artifact]:
    """Return the teacher and the corpus, which stand under the first root."""
    store = ArtifactStore(config.root_uri)
    return store.of_stage("teacher")[0], store.of_stage("corpus")[0]


def plainly(config: PipelineConfig, shards: list[Shard]) -> tuple[float, list[Artifact]]:
    """Extract in plain calls; return the seconds of all together, and what was made."""
    teacher, corpus = inputs(config)
    store, began = ArtifactStore(config.root_uri), time.perf_counter()
    made = [
        extract_shard(store, config.embeddings, config.teacher, teacher, corpus, shard)
        for shard in shards
    ]
    return time.perf_counter() - began, made


def flows(config: PipelineConfig, shards: list[Shard], *, limited: bool) -> tuple[Flow, Flow]:
    """Return a flow over the shards, into another root, and one over shards that do nothing."""
    from prefect import flow, get_client

    from flows.runners.choice import ChosenRunner
    from tasks.policy import GPU_LIMIT, gpu_slot, gpu_task, is_limited
    from tasks.sharded import TASKS
    from tasks.shards import in_slots

    teacher, corpus = (artifact.uri for artifact in inputs(config))
    uris = {"teacher": teacher, "corpus": corpus}
    elsewhere = config.model_copy(update={"root_uri": f"{config.root_uri}-flow"})

    @gpu_task(name="nothing", task_run_name="nothing {number}")
    def nothing(number: int) -> str:
        with gpu_slot():
            return str(number)

    @flow(name="extraction", task_runner=ChosenRunner())
    def extraction(n_shards: int) -> list[str]:
        calls = {s.name: (elsewhere, uris, s) for s in shards[:n_shards]}
        return in_slots("embeddings", TASKS["embeddings"].make, calls)

    @flow(name="nothings", task_runner=ChosenRunner())
    def nothings(n_shards: int) -> list[str]:
        if limited and not is_limited():
            with get_client(sync_client=True) as client:  # as infra/register.py does
                client.upsert_global_concurrency_limit_by_name(GPU_LIMIT, 1)
        return in_slots("nothing", nothing, {str(n): (n,) for n in range(n_shards)})

    return extraction, nothings


def timed(run: Flow, n_shards: int) -> tuple[float, list[str]]:
    """Run a flow; return its seconds and its result."""
    began = time.perf_counter()
    result = run(n_shards)
    return time.perf_counter() - began, result


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run all three and compare the bytes.

    Raises:
        AssertionError: if the flow made other bytes than the plain calls.
    """
    from tasks.policy import is_limited

    config, shards = prepare(options, folder)
    plain_wall, plain = plainly(config, shards)
    print(f"plain calls: {plain_wall:.1f} s for {len(shards)} shards", flush=True)

    extraction, nothings = flows(config, shards, limited=options.limit)
    start, _ = timed(nothings, 1)
    print(f"Prefect and its server started in {start:.1f} s, which is not counted", flush=True)
    wall, uris = timed(extraction, len(shards))
    empty_wall, _ = timed(nothings, options.empty)

    by_flow = [ArtifactStore.open(uri) for uri in uris]
    assert [a.record.content for a in by_flow] == [a.record.content for a in plain]
    print(f"flow: {wall:.1f} s; its {len(shards)} shards equal the plain ones byte for byte")
    work, plain_work = (sum(a.record.seconds for a in made) for made in (by_flow, plain))
    overhead = max(0.0, (wall - work) - (plain_wall - plain_work))
    teacher = resolved_teacher(config.teacher)
    return machine(teacher.device, teacher.dtype) | {
        "overhead_share": round(overhead / wall, 4),
        "overhead_seconds": round(overhead / len(shards), 3),
        "wall_share": round((wall - plain_wall) / wall, 4),
        "shard_seconds": round(work / len(shards), 2),
        "plain_shard_seconds": round(plain_work / len(shards), 2),
        "empty_shard_seconds": round(empty_wall / options.empty, 3),
        "shards_per_minute": round(60 * options.empty / empty_wall, 1),
        "n_shards": len(shards),
        "with_limit": is_limited(),
        "server": os.environ.get("PREFECT_API_URL"),
    }


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shards", type=int, default=3)
    parser.add_argument("--shard-tokens", type=int, default=65536)
    parser.add_argument("--limit", action="store_true", help="as make serve has it")
    parser.add_argument("--empty", type=int, default=40)
    parser.add_argument("--teacher", default="sample:smollm2-135m")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        os.environ.setdefault("PREFECT_HOME", str(Path(name, "prefect")))
        use_own_prefect()
        print(json.dumps(measure(options, Path(name))))


if __name__ == "__main__":
    main()
