"""The whole pipeline in seconds: a random two-layer llama, a tokenizer of 300 tokens, six pairs."""

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dskd_core.config import Arm, PipelineConfig
from dskd_core.config.recipes import Relations
from dskd_core.corpus.store import build_corpus
from dskd_core.dictionary.store import build_dictionary
from dskd_core.embeddings.store import collect_embeddings, extract_shard, plan_shards
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.evaluation.heldout.store import score_student
from dskd_core.lexicon.store import build_lexicon
from dskd_core.relations.tables import build_relations
from dskd_core.senses.store import cluster_range, collect_senses, plan_ranges
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.store import (
    Mode,
    capture_shard,
    capture_shards,
    collect_activations,
    resolve_mode,
)
from dskd_core.training.candidates.store import select_candidates
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.loop.loop import train_student
from dskd_core.training.losses.recipes import find_recipe
from dskd_core.training.student.shape import prepare_student
from dskd_core.words.store import build_words

WORDS = [
    "kind",
    "unkind",
    "happy",
    "unhappy",
    "accurate",
    "faultless",
    "fault",
    "friendly",
    "bank",
    "river",
    "money",
    "light",
    "dark",
    "heavy",
    "spring",
    "summer",
    "water",
    "quiet",
    "loud",
    "small",
    "large",
    "house",
    "garden",
    "stone",
    "the",
    "a",
    "of",
    "and",
    "in",
    "was",
    "near",
    "with",
]
PAIRS = [
    ("happy", "kind", "synonym"),
    ("unkind", "friendly", "antonym"),
    ("accurate", "faultless", "synonym"),
    ("light", "dark", "antonym"),
    ("light", "heavy", "antonym"),
    ("small", "large", "antonym"),
]
DERIVATIONS = "kind\tunkind\tJ\tJ\tun\tprefix\nhappy\tunhappy\tJ\tJ\tun\tprefix\n"


def make(folder: Path, **changes: dict) -> PipelineConfig:
    """Write teacher, corpus and lexicon under ``folder``; return the settings that use them."""
    documents = _documents()
    write_teacher(folder / "teacher", documents)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, text in enumerate(documents):
        (corpus / f"document-{number:02d}.txt").write_text(text, "utf-8")
    pairs = folder / "pairs.csv"
    lines = ["word_a,word_b,relation", *(",".join(pair) for pair in PAIRS)]
    pairs.write_text("\n".join(lines) + "\n", "utf-8")
    derivations = folder / "derivations.tsv"
    derivations.write_text(DERIVATIONS, "utf-8")
    values: dict = {
        "root_uri": str(folder / "artifacts"),
        "teacher": {"source": str(folder / "teacher"), "dtype": "float32", "device": "cpu"},
        "corpus": {"source": str(corpus), "window_tokens": 16, "heldout_share": 0.2}
        | {"min_document_tokens": 4},
        "embeddings": {"max_occurrences": 20, "shard_tokens": 400, "batch_tokens": 128}
        | {"state_dtype": "float32"},
        "senses": {"n_senses": 3, "n_restarts": 2, "shard_rows": 400, "context_tokens": 4},
        "lexicon": {
            "sources": [{"kind": "word_pairs", "uri": str(pairs)}],
            "morphology": [{"kind": "morphynet", "uri": str(derivations)}],
        },
        "student": {"n_layers": 3, "n_trainable_layers": 2},
        "training": {"batch_windows": 4, "n_epochs": 1.0, "learning_rate": 1e-2}
        | {"compute_dtype": "float32", "checkpoint_steps": 4, "n_candidates": 2, "margin": 2.0}
        | {"compile_head": False, "compile_layers": False},
        "evaluation": {"seeds": [0, 1], "n_resamples": 200},
    }
    for stage, settings in changes.items():
        values[stage] = values.get(stage, {}) | settings
    return PipelineConfig.model_validate(values)


def write_teacher(folder: Path, documents: list[str]) -> None:
    """Write a random llama of four layers and a byte-level tokenizer trained on the documents."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    raw.train_from_iterator(documents, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>", pad_token="<pad>")
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer) + 8,  # padded rows, as real checkpoints have
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
            tie_word_embeddings=True,
        )
    )
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _documents() -> list[str]:
    rng = random.Random(0)
    return [
        " ".join(rng.choice(WORDS) for _ in range(rng.randint(10, 60))) + "." for _ in range(30)
    ]


class Built:
    """The artifacts of a miniature, made one by one as they are asked for."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.store = ArtifactStore(config.root_uri)

    def teacher(self) -> Artifact:
        return prepare_teacher(self.store, self.config.teacher)

    def corpus(self) -> Artifact:
        return build_corpus(self.store, self.config.corpus, self.teacher())

    def embeddings(self) -> Artifact:
        config, teacher, corpus = self.config, self.teacher(), self.corpus()
        parts = [
            extract_shard(self.store, config.embeddings, config.teacher, teacher, corpus, shard)
            for shard in plan_shards(corpus, config.embeddings)
        ]
        return collect_embeddings(self.store, config.embeddings, teacher, corpus, parts)

    def senses(self) -> Artifact:
        config, embeddings, corpus = self.config.senses, self.embeddings(), self.corpus()
        parts = [
            cluster_range(self.store, config, embeddings, corpus, shard)
            for shard in plan_ranges(embeddings, self.store, config)
        ]
        return collect_senses(self.store, config, embeddings, corpus, self.teacher(), parts)

    def words(self) -> Artifact:
        lexicon = build_lexicon(self.store, self.config.lexicon)
        relations = build_relations(self.store, self.config.relations, lexicon)
        return build_words(self.store, self.config.words, relations, self.teacher())

    def dictionary(self) -> Artifact:
        return build_dictionary(
            self.store, self.config.dictionary, self.senses(), self.words(), self.corpus()
        )

    def untrained(self) -> Artifact:
        return prepare_student(self.store, self.config.student, self.config.teacher, self.teacher())

    def mode(self) -> Mode:
        return resolve_mode(self.config.training, self.untrained(), self.corpus())

    def activations(self) -> Artifact:
        config, corpus, untrained, mode = (
            self.config,
            self.corpus(),
            self.untrained(),
            self.mode(),
        )
        parts = [
            capture_shard(
                self.store,
                config.training,
                config.teacher,
                self.teacher(),
                untrained,
                corpus,
                mode,
                shard,
            )
            for shard in capture_shards(corpus, config.training, mode)
        ]
        return collect_activations(self.store, config.training, untrained, corpus, mode, parts)

    def candidates(self, relations: Relations = "dictionary") -> Artifact:
        return select_candidates(
            self.store,
            self.config.training,
            self.activations(),
            self.dictionary(),
            relations=relations,
        )

    def inputs(self, arm: Arm = "paper") -> Inputs:
        dictionary = self.dictionary()
        online = self.mode() == "online"
        return Inputs(
            self.untrained(),
            self.activations(),
            dictionary,
            self.candidates(find_recipe(self.config.training, arm).relations),
            teacher=self.teacher() if online else None,
            text=self.corpus() if online else None,
        )

    def student(self, arm: Arm = "paper", seed: int = 0, **options) -> Artifact:
        config = self.config
        return train_student(
            self.store,
            config.training,
            config.teacher,
            self.inputs(arm),
            arm=arm,
            seed=seed,
            **options,
        )

    def scores(self, student: Artifact | None = None) -> Artifact:
        config = self.config
        return score_student(self.store, config.training, config.teacher, self.inputs(), student)
