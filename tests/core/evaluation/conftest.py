"""A miniature of everything before evaluation: a random llama, its corpus, students by real code.

The dictionary alone is written by hand: random rows near nothing, so that candidates exist.
"""

import json
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from dskd_core.arrays import put_array
from dskd_core.artifacts import Artifact, ArtifactStore, Work
from dskd_core.config import CorpusConfig, StudentConfig, TeacherConfig, TrainingConfig
from dskd_core.corpus.store import build_corpus
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.evaluation.scores import score_student
from dskd_core.tokenizers import load_tokenizer
from dskd_core.training.activations import capture_shard, capture_shards, collect_activations
from dskd_core.training.loop import train_student

WORDS = ("the", "bank", "river", "money", "old", "lends", "floods", "a", "light", "spring")
HIDDEN = 16
TRAINING = TrainingConfig(
    n_candidates=3,
    margin=2.0,
    learning_rate=3e-3,
    n_epochs=1.0,
    batch_windows=4,
    min_related=2,
    compute_dtype="float32",
)
STUDENT = StudentConfig(n_layers=3, n_trainable_layers=2)


@dataclass(frozen=True)
class Miniature:
    store: ArtifactStore
    teacher_config: TeacherConfig
    teacher: Artifact
    corpus: Artifact
    dictionary: Artifact
    activations: Artifact
    students: dict[tuple[str, int], Artifact]

    def score(self, arm: str, seed: int = 0) -> Artifact:
        student = None if arm == "teacher" else self.students[arm, seed]
        return score_student(
            self.store,
            TRAINING,
            self.teacher_config,
            self.teacher,
            self.dictionary,
            self.activations,
            student,
        )


def write_tokenizer(folder):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"Ġ" + word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges_of(vocabulary)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(str(folder))


def merges_of(vocabulary):
    """Complete the vocabulary with the letters, and spell every word from left to right."""
    merges = []
    for word in list(vocabulary):
        for letter in word:
            vocabulary.setdefault(letter, len(vocabulary))
        for stop in range(2, len(word) + 1):
            merge = (word[: stop - 1], word[stop - 1])
            vocabulary.setdefault(word[:stop], len(vocabulary))
            if merge not in merges:
                merges.append(merge)
    return merges


def write_llama(folder, n_tokens):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=n_tokens,
        hidden_size=HIDDEN,
        intermediate_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=64,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def write_texts(path):
    rng = np.random.default_rng(1)
    lines = [
        json.dumps({"id": f"page {number}", "text": " ".join(rng.choice(WORDS, 30))})
        for number in range(40)
    ]
    path.write_text("\n".join(lines), "utf-8")


def write_dictionary(store, teacher):
    """Give words 0 to 7 two senses each; even words have synonyms, every third has antonyms."""
    tokenizer = load_tokenizer(teacher.folder())
    n_tokens, n_sensed = tokenizer.n_tokens, 8
    own = np.minimum(np.arange(n_tokens + 1), n_sensed) * 2
    lists = {"positive": {}, "negative": {}}
    for token in range(len(WORDS)):
        other = (token + 1) % n_sensed
        if token % 2 == 0:
            lists["positive"][token] = [2 * other, 2 * other + 1]
        if token % 3 == 0:
            lists["negative"][token] = [(2 * token + 6) % 16, (2 * token + 7) % 16]
    work = Work("dictionary", {}, {"teacher": teacher.fingerprint})
    with store.publish(work) as draft:
        group = draft.write_group("dictionary.zarr")
        rows = np.random.default_rng(2).normal(size=(2 * n_sensed, HIDDEN))
        put_array(group, "rows", rows.astype(np.float16))
        put_array(group, "own_offsets", own.astype(np.int64))
        for name, by_token in lists.items():
            counts = [len(by_token.get(token, ())) for token in range(n_tokens)]
            offsets = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
            put_array(group, f"{name}_offsets", offsets)
            flat = [row for token in sorted(by_token) for row in by_token[token]]
            put_array(group, f"{name}_rows", np.array(flat, dtype=np.int32))
        draft.report["tokenizer"] = tokenizer.fingerprint
    return store.get(work.stage, work.fingerprint)


def make_miniature(root) -> Miniature:
    folder = root / "llama"
    folder.mkdir(parents=True)
    write_tokenizer(folder)
    write_llama(folder, load_tokenizer(folder).n_tokens)
    write_texts(root / "pages.jsonl")
    store = ArtifactStore(str(root / "artifacts"))
    teacher_config = TeacherConfig(source=str(folder), dtype="float32", device="cpu")
    teacher = prepare_teacher(store, teacher_config)
    corpus_config = CorpusConfig(
        source=str(root / "pages.jsonl"), window_tokens=16, heldout_share=0.4
    )
    corpus = build_corpus(store, corpus_config, teacher)
    dictionary = write_dictionary(store, teacher)
    inputs = teacher, corpus, dictionary
    parts = [
        capture_shard(store, TRAINING, STUDENT, teacher_config, *inputs, shard)
        for shard in capture_shards(corpus, TRAINING)
    ]
    activations = collect_activations(store, TRAINING, STUDENT, *inputs, parts)
    students = {
        (arm, seed): train_student(
            store,
            TRAINING,
            STUDENT,
            teacher_config,
            teacher,
            dictionary,
            activations,
            arm=arm,
            seed=seed,
        )
        for arm in ("kd", "dskd", "kd_mse")
        for seed in (0, 1)
    }
    return Miniature(store, teacher_config, teacher, corpus, dictionary, activations, students)


@pytest.fixture(scope="package")
def miniature(tmp_path_factory) -> Miniature:
    return make_miniature(tmp_path_factory.mktemp("evaluation"))
