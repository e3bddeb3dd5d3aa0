"""What the artifacts of prompts hold: a table of questions, and windows as the corpus has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.corpus.windows import document_hash
from dskd_core.prompts.questions import agrees
from dskd_core.prompts.sampling import Prompt
from dskd_core.store.arrays import put_array, put_rows
from dskd_core.store.artifacts import Draft


def questions_table(prompts: Sequence[Prompt]) -> pa.Table:
    """Return a row for each prompt: what is asked, how, and what it is known by."""
    asked = [prompt.question for prompt in prompts]
    return pa.table(
        {
            "question": pa.array(range(len(prompts)), pa.int32()),
            "id": pa.array([q.id for q in asked], pa.string()),
            "task": pa.array([q.task for q in asked], pa.string()),
            "subject": pa.array([q.subject for q in asked], pa.string()),
            "group": pa.array([q.group for q in asked], pa.string()),
            "gold": pa.array([list(q.answers) for q in asked], pa.list_(pa.string())),
            "exemplars": pa.array([list(p.exemplars) for p in prompts], pa.list_(pa.string())),
            "answer_tokens": pa.array([p.answer_tokens for p in prompts], pa.int32()),
            "heldout": pa.array([p.heldout for p in prompts], pa.bool_()),
            "fingerprint": pa.array([q.fingerprint for q in asked], pa.string()),
            "prompt_fingerprint": pa.array([p.fingerprint for p in prompts], pa.string()),
        }
    )


def with_answers(table: pa.Table, texts: list[str]) -> pa.Table:
    """Add the teacher's answers, and whether each is an accepted one."""
    tasks, gold = table["task"].to_pylist(), table["gold"].to_pylist()
    flags = [agrees(*row) for row in zip(tasks, gold, texts, strict=True)]
    table = table.append_column("answer", pa.array(texts, pa.string()))
    return table.append_column("agrees", pa.array(flags, pa.bool_()))


def tasks_report(written: dict[str, dict[str, int]], table: pa.Table) -> dict[str, Any]:
    """Add to each benchmark's counts how often the teacher's answer is an accepted one."""
    report: dict[str, Any] = {}
    for task, counts in written.items():
        rows = [row for row in table.to_pylist() if row["task"] == task]
        known = [row for row in rows if row["gold"]]
        n_agreeing = sum(row["agrees"] for row in known)
        report[task] = counts | {
            "prompts": len(rows),
            "heldout": sum(row["heldout"] for row in rows),
            "with_gold": len(known),
            "agreeing": n_agreeing,
            "agreement": round(n_agreeing / len(known), 4) if known else None,
        }
    return report


def write_windows(
    draft: Draft,
    prompts: Sequence[NDArray[np.int32]],
    answers: Sequence[NDArray[np.int32]],
    prefix: list[int],
    table: pa.Table,
) -> None:
    """Write a window of prompt and answer for each question, as the corpus writes its own."""
    rows = [np.concatenate(pair) for pair in zip(prompts, answers, strict=True)]
    lengths = np.array([len(row) for row in rows])
    written = [np.arange(len(row)) >= len(p) for row, p in zip(rows, prompts, strict=True)]
    heldout = table["heldout"].to_numpy(zero_copy_only=False)
    group = draft.write_group("windows.zarr")
    group.attrs.update({"prefix": prefix, "window_tokens": len(prefix) + int(lengths.max())})
    put_rows(group, rows)
    put_array(group, "documents", np.arange(len(rows), dtype=np.int32))
    put_array(group, "starts", np.zeros(len(rows), dtype=np.int32))
    put_array(group, "heldout", heldout)
    put_array(group, "answers", np.concatenate(written))
    documents = {
        "document": table["question"],
        "document_id": table["id"],
        "title": table["id"],
        "n_tokens": pa.array(lengths, pa.int32()),
        "heldout": table["heldout"],
        "key": pa.array([document_hash(name) for name in table["id"].to_pylist()], pa.uint64()),
    }
    draft.write_table("documents.parquet", pa.table(documents))
    draft.counts |= {
        "n_documents": len(rows),
        "n_heldout_documents": int(heldout.sum()),
        "n_windows": len(rows),
        "n_heldout_windows": int(heldout.sum()),
        "n_tokens": int(lengths.sum()),
        "n_heldout_tokens": int(lengths[heldout].sum()),
        "n_answer_tokens": sum(map(len, answers)),
    }
