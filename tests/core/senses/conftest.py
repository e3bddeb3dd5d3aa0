"""A miniature corpus, teacher and embeddings, written as their stages write them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from dskd_core.store.arrays import put_array
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work

WORDS = ["the", "bank", "river", "money", "old", "lends", "floods", "a"]


@dataclass(frozen=True)
class Miniature:
    store: ArtifactStore
    teacher: Artifact
    corpus: Artifact
    embeddings: Artifact
    states: dict[int, np.ndarray]
    places: dict[int, list[tuple[int, int]]]
    documents: list[np.ndarray]


def published(store, work, fill) -> Artifact:
    with store.publish(work) as draft:
        fill(draft)
    return store.get(work.stage, work.fingerprint)


def write_teacher(store):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["Ġ" + word for word in WORDS] + sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer)
    return published(
        store, Work("teacher", {}, {"weights": "a"}), lambda d: fast.save_pretrained(str(d.folder))
    )


def write_corpus(store, documents):
    def fill(draft):
        group = draft.write_group("windows.zarr")
        lengths = [len(d) for d in documents]
        put_array(group, "token_ids", np.concatenate(documents).astype(np.int32))
        put_array(group, "offsets", np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
        put_array(group, "documents", np.arange(len(documents), dtype=np.int32))
        put_array(group, "starts", np.zeros(len(documents), np.int32))
        put_array(group, "heldout", np.zeros(len(documents), bool))
        group.attrs["prefix"] = []
        names = [f"page {i}" for i in range(len(documents))]
        keys = pa.array(range(len(documents)), pa.uint64())
        draft.write_table("documents.parquet", pa.table({"document_id": names, "key": keys}))

    return published(store, Work("corpus", {}, {"source": "b"}), fill)


def write_embeddings(store, teacher, corpus, states, places, key):
    inputs = {"teacher": teacher.fingerprint, "corpus": corpus.fingerprint}
    tokens = sorted(states)
    counts = [len(states[t]) for t in tokens]

    def fill_part(draft):
        group = draft.write_group("part.zarr")
        group.attrs["dtype"] = "float16"
        put_array(group, "tokens", np.array(tokens, np.int32))
        put_array(group, "offsets", np.concatenate(([0], np.cumsum(counts))).astype(np.int64))
        put_array(group, "states", np.concatenate([states[t] for t in tokens]).astype(np.float16))
        where = np.concatenate([np.array(places[t]) for t in tokens]).astype(np.int32)
        put_array(group, "documents", where[:, 0].copy())
        put_array(group, "positions", where[:, 1].copy())
        hashes = np.concatenate([np.arange(n) for n in counts]).astype(np.uint64)
        put_array(group, "hashes", hashes)

    part = published(store, Work("embeddings-shard", {"key": key}, inputs), fill_part)

    def fill_index(draft):
        group = draft.write_group("index.zarr")
        put_array(group, "tokens", np.array(tokens, np.int32))
        put_array(group, "n_rows", np.array(counts, np.int64))
        put_array(group, "limits", np.full(len(tokens), 2**63, np.uint64))
        group.attrs.update({"hidden_size": 4, "dtype": "float16", "key": key})
        draft.report["parts"] = [part.fingerprint]

    return published(store, Work("embeddings", {"key": key}, inputs), fill_index)


def make_miniature(root, key="next") -> Miniature:
    """Ten documents over eight words; states are multiples of 1/8, exact in float16."""
    store = ArtifactStore(str(root))
    rng = np.random.default_rng(3)
    documents = [rng.integers(0, len(WORDS), 30) for _ in range(10)]
    states: dict[int, list[np.ndarray]] = {}
    places: dict[int, list[tuple[int, int]]] = {}
    for document, ids in enumerate(documents):
        for position in range(len(ids) - 1):
            filed = int(ids[position] if key == "input" else ids[position + 1])
            if filed == 7 and len(places.get(7, [])) == 2:
                continue  # a rare word: fewer embeddings than senses
            meaning = 8.0 * (int(ids[position]) % 3)
            state = np.round((meaning + rng.normal(size=4)) * 8) / 8
            states.setdefault(filed, []).append(state)
            places.setdefault(filed, []).append((document, position))
    stacked = {t: np.stack(rows).astype(np.float32) for t, rows in states.items()}
    teacher, corpus = write_teacher(store), write_corpus(store, documents)
    embeddings = write_embeddings(store, teacher, corpus, stacked, places, key)
    return Miniature(store, teacher, corpus, embeddings, stacked, places, documents)


@pytest.fixture
def miniature(tmp_path) -> Miniature:
    return make_miniature(tmp_path / "artifacts")
