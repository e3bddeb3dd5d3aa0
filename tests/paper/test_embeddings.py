"""The paper on sampling: which states are kept and under which token they are filed."""

import numpy as np
import torch

from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import load_windows
from dskd_core.embeddings.store import load_embeddings
from dskd_core.embeddings.teacher import load_teacher


def test_states_are_filed_under_the_teacher_s_argmax_by_default():
    assert EmbeddingsConfig().key == "predicted"


def test_at_most_two_thousand_occurrences_of_a_token_by_default():
    assert EmbeddingsConfig().max_occurrences == 2000


def test_a_state_at_t_is_filed_under_what_the_teacher_predicts_for_t_plus_1(miniature):
    embeddings = load_embeddings(miniature.embeddings(), miniature.store)
    windows = load_windows(miniature.corpus())
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    rows = embeddings.read(0, 5)
    tokens = np.repeat(rows.tokens, np.diff(rows.offsets))
    for token, document, position in zip(tokens, rows.documents, rows.positions, strict=True):
        window = np.flatnonzero((windows.documents == document) & (windows.starts <= position))[-1]
        ids = torch.tensor(windows.window(int(window)).tolist())[None]
        with torch.no_grad():
            logits = teacher.model(ids).logits[0, position - windows.starts[window]]
        assert int(logits[: teacher.n_tokens].argmax()) == token


def test_special_tokens_have_no_senses(miniature):
    embeddings = load_embeddings(miniature.embeddings(), miniature.store)
    assert not {0, 1} & set(embeddings.tokens.tolist())


def test_every_row_knows_its_document_and_position(miniature):
    embeddings = load_embeddings(miniature.embeddings(), miniature.store)
    rows = embeddings.read(0, len(embeddings.tokens))
    documents = miniature.corpus().table("documents.parquet").to_pylist()
    lengths = {row["document"]: row["n_tokens"] for row in documents}
    places = list(zip(rows.documents.tolist(), rows.positions.tolist(), strict=True))
    assert len(set(places)) == len(places)
    assert all(0 <= position < lengths[document] for document, position in places)
