"""Batches of items through one model, in either protocol."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from dskd_core.config import TeacherConfig
from dskd_core.decoder.batches import plan_batches
from dskd_core.decoder.decoder import load_decoder
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.evaluation.benchmarks.harness import scoring as harness
from dskd_core.evaluation.benchmarks.harness.sharing import can_share, plan_shared
from dskd_core.evaluation.benchmarks.layout import TABLE, ItemBatch, Requests
from dskd_core.evaluation.benchmarks.paper import scoring as paper
from dskd_core.evaluation.models import model_config, model_folder
from dskd_core.progress import Progress
from dskd_core.store.artifacts import Artifact

Protocol = Literal["paper", "harness"]
Row = dict[str, Any]


def plan_item_batches(
    items: Artifact, requests: Requests, batch_tokens: int, model: Artifact
) -> list[ItemBatch]:
    """Cut items into batches, the same for every sharding."""
    if items.record.config["protocol"] == "harness":
        config = model_config(model_folder(model))
        share = can_share(config, int(requests.lengths.max()))
        return plan_shared(requests, batch_tokens, share=share)
    lengths = requests.lengths + int(items.record.config["answer_tokens"])
    return [
        ItemBatch(tuple(batch.tolist()), (0,) * len(batch), int(lengths[batch].sum()))
        for batch in plan_batches(lengths, np.arange(len(lengths)), batch_tokens)
    ]


def score_batches(
    model: Artifact,
    config: TeacherConfig,
    items: Artifact,
    requests: Requests,
    batches: Sequence[ItemBatch],
    progress: Progress,
) -> list[Row]:
    """Score batches of items; return a row of ``part.parquet`` for each item."""
    folder = model_folder(model)
    decoder, tokenizer = load_decoder(folder, config), load_tokenizer(folder)
    table = items.table(TABLE).to_pylist()
    if items.record.config["protocol"] == "paper":
        n_tokens = int(items.record.config["answer_tokens"])
        scored = paper.score_batches(decoder, tokenizer, requests, table, batches, n_tokens)
    else:
        scored = harness.score_batches(
            decoder, tokenizer, folder, requests, table, batches, progress
        )
    n_total = sum(len(batch.items) for batch in batches)
    rows: list[Row] = []
    for own in scored:
        rows += own
        progress(len(rows), n_total, "items")
    return rows
