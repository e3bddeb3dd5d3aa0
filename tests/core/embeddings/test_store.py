import numpy as np
import pytest
import torch

from dskd_core.artifacts import ArtifactStore
from dskd_core.config import EmbeddingsConfig
from dskd_core.corpus.store import load_windows
from dskd_core.embeddings.states import decode_states, encode_states
from dskd_core.embeddings.store import (
    collect_embeddings,
    extract_shard,
    load_embeddings,
    plan_shards,
)
from dskd_core.embeddings.teacher import load_teacher
from dskd_core.errors import ArtifactError, DataError


def _embeddings(built, tmp_path, **changes):
    config = built.config.embeddings.model_copy(update=changes)
    store = ArtifactStore(str(tmp_path))
    teacher, corpus = built.teacher(), built.corpus()
    shards = plan_shards(corpus, config)
    parts = [
        extract_shard(store, config, built.config.teacher, teacher, corpus, shard)
        for shard in reversed(shards)
    ]
    artifact = collect_embeddings(store, config, teacher, corpus, parts)
    return artifact, load_embeddings(artifact, store), len(shards)


def _naive(built, key: str) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """Return (document, position) -> (token, state), one window at a time, from full logits."""
    windows = load_windows(built.corpus())
    teacher = load_teacher(built.teacher(), built.config.teacher)
    found = {}
    for number in np.flatnonzero(~windows.heldout):
        ids = windows.window(number).tolist()
        with torch.no_grad():
            out = teacher.model(torch.tensor([ids]), output_hidden_states=True)
        document, start = int(windows.documents[number]), int(windows.starts[number])
        text = windows.document(document).tolist()
        for t in range(len(ids)):
            following = text[start + t + 1] if start + t + 1 < len(text) else None
            logits = out.logits[0, t, : teacher.n_tokens]
            token = {"predicted": int(logits.argmax()), "next": following, "input": ids[t]}[key]
            if token is not None and token > 1:  # 0 and 1 are special
                found[document, start + t] = (token, out.hidden_states[-1][0, t].numpy())
    return found


@pytest.mark.parametrize("key", ["predicted", "next", "input"])
def test_every_row_is_the_state_at_its_place_filed_under_its_token(miniature, tmp_path, key):
    _, embeddings, _ = _embeddings(miniature, tmp_path, key=key, max_occurrences=10_000)
    expected = _naive(miniature, key)
    rows = embeddings.read(0, len(embeddings.tokens))
    tokens = np.repeat(rows.tokens, np.diff(rows.offsets))
    assert len(tokens) == len(expected)
    for token, document, position, state in zip(
        tokens, rows.documents, rows.positions, rows.states, strict=True
    ):
        wanted_token, wanted_state = expected[int(document), int(position)]
        assert token == wanted_token
        np.testing.assert_allclose(state, wanted_state, atol=2e-5)


def test_the_sample_is_the_same_bits_from_any_number_of_shards_in_any_order(miniature, tmp_path):
    reads = []
    for number, shard_tokens in enumerate((10_000, 384, 130)):
        artifact, embeddings, n_shards = _embeddings(
            miniature, tmp_path / str(number), shard_tokens=shard_tokens, max_occurrences=5
        )
        rows = embeddings.read(0, len(embeddings.tokens))
        reads.append((n_shards, artifact.fingerprint, artifact.record.content, rows))
    assert [n for n, *_ in reads] == [1, 3, 7]
    assert len({fingerprint for _, fingerprint, *_ in reads}) == 1
    assert len({content for _, _, content, _ in reads}) == 1
    for *_, rows in reads[1:]:
        for name in ("offsets", "states", "documents", "positions"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(reads[0][-1], name))
    assert np.diff(reads[0][-1].offsets).max() == 5


def test_heldout_documents_are_never_embedded(miniature, tmp_path):
    _, embeddings, _ = _embeddings(miniature, tmp_path)
    heldout = miniature.corpus().table("documents.parquet").to_pylist()
    names = {row["document"] for row in heldout if row["heldout"]}
    rows = embeddings.read(0, len(embeddings.tokens))
    assert names
    assert not names & set(rows.documents.tolist())


def test_a_finished_shard_is_found_and_not_computed_again(miniature, tmp_path, monkeypatch):
    _embeddings(miniature, tmp_path)
    monkeypatch.setattr("dskd_core.embeddings.store.load_teacher", lambda *_: pytest.fail("ran"))
    _embeddings(miniature, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_stored_states_come_back_exactly(dtype):
    states = torch.tensor([[1.5, -59.0], [0.0, 2.0**-10]])
    assert decode_states(encode_states(states, dtype), dtype).tolist() == states.tolist()


def test_a_state_too_large_for_float16_is_refused_with_its_size():
    with pytest.raises(DataError, match=r"70000.*bfloat16"):
        encode_states(torch.tensor([[70000.0]]), "float16", "3-of-4")


def test_a_nan_state_is_refused():
    with pytest.raises(DataError, match="nan"):
        encode_states(torch.tensor([[float("nan")]]), "float32", "0-of-1")


def test_embeddings_whose_part_is_gone_say_so(miniature, tmp_path):
    artifact, embeddings, _ = _embeddings(miniature, tmp_path)
    store = ArtifactStore(str(tmp_path))
    store.discard(embeddings.parts[0])
    with pytest.raises(ArtifactError, match="run the stage first"):
        load_embeddings(artifact, store)


def test_settings_that_only_cut_the_work_do_not_change_the_address():
    dumps = [
        EmbeddingsConfig(shard_tokens=n).model_dump(exclude={"shard_tokens"}) for n in (100, 200)
    ]
    assert dumps[0] == dumps[1]
