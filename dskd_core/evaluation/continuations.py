"""What teacher and students write after the same beginnings of held-out documents.

``continuations.parquet`` of a ``continuations`` artifact has a row for each beginning and writer:

    document      string   the document's id
    beginning     string   its first tokens, as text
    arm           string   teacher, the student's arm, or text: how the document itself goes on
    seed          int32    the student's; else null
    continuation  string   the most probable tokens, one after the other

They measure nothing. They show a reader what a cross-entropy is worth.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dskd_core.config import TeacherConfig
from dskd_core.corpus.store import Windows, load_windows
from dskd_core.decoder.decoder import device_lock, load_decoder
from dskd_core.decoder.precision import processor_on, resolved_teacher
from dskd_core.decoder.tokenizer import Tokenizer, check_same_tokenizer, load_tokenizer
from dskd_core.evaluation.comparison.arms import ArmSeed, arm_and_seed
from dskd_core.evaluation.models import model_folder
from dskd_core.progress import Progress, silent
from dskd_core.prompts.answers import DECODING, end_tokens_of, greedy_answers
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work

STAGE = "continuations"
TABLE = "continuations.parquet"
TEXT = "text"
"""Stands in the place of an arm for the document itself."""
BEGINNING_TOKENS = 24
NEW_TOKENS = 24
_SCHEMA = pa.schema(
    [
        ("document", pa.string()),
        ("beginning", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int32()),
        ("continuation", pa.string()),
    ]
)
Ids = NDArray[np.int32]


def write_continuations(
    store: ArtifactStore,
    n_documents: int,
    teacher_config: TeacherConfig,
    corpus: Artifact,
    models: Sequence[Artifact],
    *,
    progress: Progress = silent,
) -> Artifact:
    """Let models continue the beginnings of held-out documents, greedily.

    There are fewer than ``n_documents`` where fewer are held out.

    Raises:
        ArtifactError: if the corpus was cut with another tokenizer than a model's.
    """
    teacher_config = resolved_teacher(teacher_config)
    settings = {
        "documents": n_documents,
        "beginning_tokens": BEGINNING_TOKENS,
        "new_tokens": NEW_TOKENS,
        "dtype": teacher_config.dtype,
        "decoding": DECODING,
    }
    read = {_input_name(model): model.fingerprint for model in models}
    work = Work(STAGE, settings, {"corpus": corpus.fingerprint} | read)
    if found := store.find(work):
        return found
    windows, tokenizer = load_windows(corpus), load_tokenizer(model_folder(models[0]))
    check_same_tokenizer(
        corpus, corpus.record.inputs["tokenizer"], models[0], tokenizer.fingerprint
    )
    documents = choose_documents(windows, n_documents)
    with device_lock, store.publish(work) as draft:
        draft.computed(teacher_config.dtype, processor_on(teacher_config.device))
        whole = [windows.document(document) for document in documents]
        cuts = [min(BEGINNING_TOKENS, len(ids) // 2) for ids in whole]
        begun = [ids[:cut] for ids, cut in zip(whole, cuts, strict=True)]
        rest = [ids[cut : cut + NEW_TOKENS] for ids, cut in zip(whole, cuts, strict=True)]
        written: dict[ArmSeed, Sequence[Sequence[int]]] = {(TEXT, None): [r.tolist() for r in rest]}
        for done, model in enumerate(models):
            written[_writer(model)] = _continue(model, teacher_config, tokenizer, begun)
            progress(done + 1, len(models), "models")
        names = corpus.table("documents.parquet")["document_id"].to_pylist()
        rows = [
            {"document": names[document], "arm": arm, "seed": seed}
            | _texts(tokenizer, begun[n].tolist(), texts[n])
            for n, document in enumerate(documents)
            for (arm, seed), texts in written.items()
        ]
        draft.write_table(TABLE, pa.Table.from_pylist(rows, schema=_SCHEMA))
        draft.counts |= {"beginnings": len(documents), "models": len(models)}
    return store.get(work.stage, work.fingerprint)


def read_rows(continuations: Artifact) -> list[dict[str, Any]]:
    """Return the rows of an artifact, in order."""
    rows: list[dict[str, Any]] = continuations.table(TABLE).to_pylist()
    return rows


def choose_documents(windows: Windows, n_documents: int) -> list[int]:
    """Return held-out documents in an order fixed by their hashes, long ones first.

    Long enough is a document with a beginning and as much after it as is written.
    """
    heldout = np.unique(windows.documents[windows.heldout])
    lengths = np.bincount(windows.documents, weights=windows.lengths)[heldout]
    is_short = lengths < BEGINNING_TOKENS + NEW_TOKENS
    order = np.lexsort((windows.document_hashes[heldout], is_short))
    return [int(document) for document in heldout[order[:n_documents]]]


def _continue(
    model: Artifact, config: TeacherConfig, tokenizer: Tokenizer, begun: Sequence[Ids]
) -> list[list[int]]:
    """Return the most probable tokens after each beginning, without what ends a text."""
    if not begun:
        return []
    decoder = load_decoder(model_folder(model), config)
    ends = end_tokens_of(decoder, tokenizer.hf.eos_token_id)
    answers = greedy_answers(decoder, begun, tokenizer.prefix, NEW_TOKENS, ends)
    return [[token for token in answer if token not in ends] for answer in answers]


def _texts(tokenizer: Tokenizer, begun: list[int], new: Sequence[int]) -> dict[str, str]:
    """Return a beginning and what follows it, as text; spaces between them are the second's."""
    beginning, whole = tokenizer.decode(begun), tokenizer.decode([*begun, *new])
    if not whole.startswith(beginning):  # the beginning ends within a letter
        return {"beginning": beginning, "continuation": tokenizer.decode(list(new))}
    return {"beginning": beginning, "continuation": whole[len(beginning) :]}


def _writer(model: Artifact) -> ArmSeed:
    return ("teacher", None) if model.record.stage == "teacher" else arm_and_seed(model)


def _input_name(model: Artifact) -> str:
    arm, seed = _writer(model)
    return "teacher" if seed is None else f"student {arm} {seed}"
