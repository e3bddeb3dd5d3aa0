"""Batches of items scored by the answers a model generates."""

from collections.abc import Iterator, Sequence
from typing import Any

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.tokenizer import Tokenizer
from dskd_core.evaluation.benchmarks.layout import ItemBatch, Requests
from dskd_core.evaluation.benchmarks.paper.answers import label_in, passage_scores
from dskd_core.prompts.answers import end_tokens_of, greedy_answers
from dskd_core.prompts.questions import labels_of

Row = dict[str, Any]


def score_batches(
    model: Decoder,
    tokenizer: Tokenizer,
    requests: Requests,
    table: list[Row],
    batches: Sequence[ItemBatch],
    n_tokens: int,
) -> Iterator[list[Row]]:
    """Yield the rows of each batch.

    ``table`` has all rows of ``items.parquet``.
    """
    ends = end_tokens_of(model, tokenizer.hf.eos_token_id)
    for batch in batches:
        prompts = [requests.ids[i][0] for i in batch.items]
        answers = greedy_answers(model, prompts, requests.prefix, n_tokens, ends)
        texts = tokenizer.hf.batch_decode(
            answers, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        pairs = zip(batch.items, texts, strict=True)
        yield [{"number": i} | score_answer(table[i], text) for i, text in pairs]


def score_answer(row: Row, answer: str) -> Row:
    """Score a generated answer.

    Returns:
        The columns ``score`` (accuracy, or F1 of squad), ``exact`` (squad), ``answer`` and
        ``parsed`` (whether a label was found; a passage's answer always is).
    """
    if row["task"] == "squad":
        f1, exact = passage_scores(answer, row["gold"])
        return {"score": f1, "exact": exact, "answer": answer, "parsed": True}
    label = label_in(answer, labels_of(row["task"], row["n_choices"]))
    right = float(label in row["gold"])
    return {"score": right, "answer": answer, "parsed": label is not None}
