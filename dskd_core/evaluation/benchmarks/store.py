"""Benchmark scores on disk: items, scored in shards by one model, and all of its scores together.

``benchmark-scores-shard`` artifact, of one model and one benchmark in one protocol:

    part.parquet    number int32 (of the item), score, score_norm, exact double, answer string,
                    parsed bool, logprobs list<double>

``benchmark-scores`` artifact, of one model and all benchmarks and protocols:

    items.parquet   item, task, protocol, subject, group, fingerprint, gold, exemplars,
                    prompt_fingerprint, n_prompt_tokens (layout.py), and what became of each:
        score         0 to 1: accuracy, or F1 of squad
        score_norm    acc_norm of lm-evaluation-harness, where the task has it; else null
        exact         exact match of squad; else null
        answer        the generated text; null where choices are compared
        parsed        whether the answer names a label; where it does not, the score is 0
        logprobs      log-likelihood of each choice (harness); else null
        in_training   the question is among those the students were trained on
        passage_in_training  its passage is (squad)
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dskd_core.config import EvaluationConfig, TeacherConfig
from dskd_core.decoder.decoder import device_lock
from dskd_core.decoder.precision import processor_on, resolved_teacher
from dskd_core.decoder.tokenizer import check_same_tokenizer, load_tokenizer
from dskd_core.errors import ArtifactError
from dskd_core.evaluation.benchmarks.layout import TABLE, read_requests
from dskd_core.evaluation.benchmarks.scoring import plan_item_batches, score_batches
from dskd_core.evaluation.benchmarks.summary import accuracies
from dskd_core.evaluation.models import model_folder
from dskd_core.progress import Progress, silent
from dskd_core.prompts.answers import DECODING
from dskd_core.shards import Shard, cut
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work

STAGE = "benchmark-scores"
_SHARD = "part.parquet"
_SHARD_SCHEMA = pa.schema(
    [
        ("number", pa.int32()),
        ("score", pa.float64()),
        ("score_norm", pa.float64()),
        ("exact", pa.float64()),
        ("answer", pa.string()),
        ("parsed", pa.bool_()),
        ("logprobs", pa.list_(pa.float64())),
    ]
)
_ITEM_COLUMNS = ("n_choices", "n_requests", "document", "context")  # not needed in the scores


def plan_scoring(items: Artifact, config: EvaluationConfig, model: Artifact) -> list[Shard]:
    """Cut the batches of items into shards of ``benchmark_shard_tokens``."""
    batches = plan_item_batches(items, read_requests(items), config.benchmark_batch_tokens, model)
    return cut([batch.n_tokens for batch in batches], config.benchmark_shard_tokens)


def score_shard(
    store: ArtifactStore,
    config: EvaluationConfig,
    teacher_config: TeacherConfig,
    model: Artifact,
    items: Artifact,
    shard: Shard,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Score a shard of the items with one model.

    Raises:
        ArtifactError: if the items were written with another tokenizer than the model's.
    """
    teacher_config = resolved_teacher(teacher_config)
    work = Work(
        "benchmark-scores-shard",
        {
            "batch_tokens": config.benchmark_batch_tokens,
            "batches": [shard.start, shard.stop],
            "decoding": DECODING,
            "dtype": teacher_config.dtype,
        },
        {"model": model.fingerprint, "items": items.fingerprint},
    )
    if found := store.find(work):
        return found
    tokenizer = load_tokenizer(model_folder(model))
    check_same_tokenizer(items, items.record.inputs["tokenizer"], model, tokenizer.fingerprint)
    requests = read_requests(items)
    batches = plan_item_batches(items, requests, config.benchmark_batch_tokens, model)
    batches = batches[shard.start : shard.stop]
    with device_lock, store.publish(work) as draft:
        draft.computed(teacher_config.dtype, processor_on(teacher_config.device))
        rows = score_batches(model, teacher_config, items, requests, batches, progress)
        draft.write_table(_SHARD, pa.Table.from_pylist(rows, schema=_SHARD_SCHEMA))
        draft.counts |= {"items": len(rows), "tokens": sum(batch.n_tokens for batch in batches)}
    return store.get(work.stage, work.fingerprint)


def collect_scores(
    store: ArtifactStore,
    config: EvaluationConfig,
    model: Artifact,
    items: Sequence[Artifact],
    shards: Sequence[Artifact],
    *,
    trained_on: Artifact | None = None,
) -> Artifact:
    """Join the scores of one model on all benchmarks in all protocols.

    Items that are among ``trained_on``, the ``questions`` of students' prompts, are marked and
    counted.

    Raises:
        ArtifactError: if the shards do not score every item once.
    """
    inputs = {"model": model.fingerprint} | {
        f"items-{number}": artifact.fingerprint for number, artifact in enumerate(items)
    }
    if trained_on is not None:
        inputs["trained_on"] = trained_on.fingerprint
    dtypes = sorted({shard.record.config["dtype"] for shard in shards})
    settings = {
        "batch_tokens": config.benchmark_batch_tokens,
        "decoding": DECODING,
        "dtype": dtypes,
    }
    work = Work(STAGE, settings, inputs)
    if found := store.find(work):
        return found
    tables = [_scored(artifact, shards) for artifact in items]
    table = _marked(pa.concat_tables(tables), trained_on)
    with store.publish(work) as draft:
        draft.computed_as(shards)
        draft.write_table(TABLE, table)
        draft.counts |= {
            "items": len(table),
            "unparsable_answers": _n_true(table["parsed"], wanted=False),
            "items_in_training": _n_true(table["in_training"]),
            "passages_in_training": _n_true(table["passage_in_training"]),
        }
        draft.report |= {
            "model": _about(model),
            "trained_on": trained_on.fingerprint if trained_on else None,
            "accuracies": accuracies(table),
            "benchmarks": [
                {"task": a.record.config["task"], "protocol": a.record.config["protocol"]}
                | a.record.report
                for a in items
            ],
            "parts": [shard.fingerprint for shard in shards],
        }
    return store.get(work.stage, work.fingerprint)


def _scored(items: Artifact, shards: Iterable[Artifact]) -> pa.Table:
    """Return the items of one benchmark with their scores, in their order."""
    own = [shard for shard in shards if shard.record.inputs["items"] == items.fingerprint]
    table = items.table(TABLE)
    found = pa.concat_tables([_SHARD_SCHEMA.empty_table(), *(shard.table(_SHARD) for shard in own)])
    numbers = found["number"].to_numpy()
    if not np.array_equal(np.sort(numbers), np.arange(len(table))):
        raise ArtifactError(
            f"The {len(own)} shards score {len(numbers)} items, not each of the {len(table)} of "
            f"{items.fingerprint} once; score every shard of plan_scoring and collect all."
        )
    found = found.take(np.argsort(numbers))
    for name in found.column_names[1:]:
        table = table.append_column(name, found[name])
    return table.drop_columns(list(_ITEM_COLUMNS))


def _marked(table: pa.Table, trained_on: Artifact | None) -> pa.Table:
    """Mark the items, and the passages, that students are trained on.

    A question is known by its normalised text, and where its authors number it by that id too:
    so the exemplars of training prompts count, which are kept by id.
    """
    known: set[str] = set()
    passages: set[str] = set()
    if trained_on is not None:
        seen = trained_on.table("questions.parquet")
        known |= set(seen["fingerprint"].to_pylist())
        ids = {*seen["id"].to_pylist(), *(i for row in seen["exemplars"].to_pylist() for i in row)}
        known |= {name for name in ids if name.partition("/")[0] not in {"mmlu", "piqa"}}
        passages = set(seen["group"].to_pylist())
    pairs = zip(table["fingerprint"].to_pylist(), table["item"].to_pylist(), strict=True)
    flags = [fingerprint in known or item in known for fingerprint, item in pairs]
    table = table.append_column("in_training", pa.array(flags, pa.bool_()))
    rows = zip(table["task"].to_pylist(), table["group"].to_pylist(), strict=True)
    flags = [task == "squad" and group in passages for task, group in rows]
    return table.append_column("passage_in_training", pa.array(flags, pa.bool_()))


def _n_true(column: pa.ChunkedArray, *, wanted: bool = True) -> int:
    return sum(value is wanted for value in column.to_pylist())


def _about(model: Artifact) -> dict[str, Any]:
    """Say whose scores these are."""
    report = model.record.report
    return {
        "stage": model.record.stage,
        "fingerprint": model.fingerprint,
        "arm": report.get("arm", "teacher"),
        "seed": report.get("seed"),
        "source": report.get("source"),
    }
