"""What all contenders share: one model, one text, one order of batches, one set of numbers.

Everything is made by dskd's own stages under one root and found there the next time. A scenario
travels to a contender's process as a JSON file.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dskd_core.config import PipelineConfig
from dskd_core.corpus.documents import Reading
from dskd_core.corpus.readers import read_documents
from dskd_core.corpus.store import build_corpus, load_windows
from dskd_core.decoder.precision import resolved_training
from dskd_core.dictionary.store import build_dictionary, load_dictionary
from dskd_core.embeddings.store import collect_embeddings, extract_shard, plan_shards
from dskd_core.embeddings.teacher import prepare_teacher
from dskd_core.lexicon.store import build_lexicon
from dskd_core.relations.tables import build_relations
from dskd_core.senses.store import cluster_range, collect_senses, plan_ranges
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.readers import StoredActivations
from dskd_core.training.activations.store import (
    Mode,
    capture_shard,
    capture_shards,
    collect_activations,
)
from dskd_core.training.candidates.store import select_candidates
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.loop.schedule import Schedule
from dskd_core.training.student.shape import prepare_student
from dskd_core.words.store import build_words

WINDOW_TOKENS = 256
N_BATCHES = 64
PAPER_RELATIONS = 25
RELATIONS = (1, PAPER_RELATIONS, 400)
"""Most synonyms, and most antonyms, of a token in the dictionaries that L_sem is timed with."""
EVERYWHERE = "everywhere"
"""The arm that has L_sem at every position that has any sense."""


@dataclass(frozen=True)
class Scenario:
    """A model, and the steps all contenders take with it.

    Attributes:
        config: the settings of dskd; the peers take the numbers of the objective from it.
        model_folder: the teacher as a plain transformers folder.
        batches: a .npy file, [n_batches, windows, tokens] int32, the windows of every step.
        n_steps: of the whole cosine.
    """

    config: PipelineConfig
    model_folder: str
    batches: Path
    n_steps: int

    @property
    def window_tokens(self) -> int:
        """Tokens of a window."""
        return self.config.corpus.window_tokens

    @property
    def dtype(self) -> torch.dtype:
        """What every contender multiplies in: the best that trains on this machine's CPU."""
        return getattr(torch, resolved_training(self.config.training, "cpu").compute_dtype)  # type: ignore[no-any-return]

    def write(self, path: Path) -> Path:
        """Write the scenario for other processes."""
        values = {"config": self.config.model_dump(mode="json"), "batches": str(self.batches)}
        rest = {"model_folder": self.model_folder, "n_steps": self.n_steps}
        path.write_text(json.dumps(values | rest), "utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "Scenario":
        """Read what :meth:`write` wrote."""
        values = json.loads(path.read_text("utf-8"))
        config = PipelineConfig.model_validate(values.pop("config"))
        return cls(config, batches=Path(values.pop("batches")), **values)


class Stages:
    """dskd's stages under one root, each built when it is asked for, or found."""

    def __init__(self, config: PipelineConfig) -> None:
        self.config = config
        self.store = ArtifactStore(config.root_uri)
        self.teacher = prepare_teacher(self.store, config.teacher)
        self.corpus = build_corpus(self.store, config.corpus, self.teacher)
        self.untrained = prepare_student(self.store, config.student, config.teacher, self.teacher)

    def dictionary(self) -> Artifact:
        """Return the dictionary: senses of the same text, relations of the sample lexicon."""
        store, config, corpus = self.store, self.config, self.corpus
        parts = [
            extract_shard(store, config.embeddings, config.teacher, self.teacher, corpus, shard)
            for shard in plan_shards(corpus, config.embeddings)
        ]
        embeddings = collect_embeddings(store, config.embeddings, self.teacher, corpus, parts)
        parts = [
            cluster_range(store, config.senses, embeddings, corpus, shard)
            for shard in plan_ranges(embeddings, store, config.senses)
        ]
        senses = collect_senses(store, config.senses, embeddings, corpus, self.teacher, parts)
        lexicon = build_lexicon(store, config.lexicon)
        relations = build_relations(store, config.relations, lexicon)
        words = build_words(store, config.words, relations, self.teacher)
        return build_dictionary(store, config.dictionary, senses, words, corpus)

    def activations(self, mode: Mode) -> Artifact:
        """Return the captured activations: all windows', or online a sample to calibrate on."""
        config = self.config
        parts = [
            capture_shard(
                self.store,
                config.training,
                config.teacher,
                self.teacher,
                self.untrained,
                self.corpus,
                mode,
                shard,
            )
            for shard in capture_shards(self.corpus, config.training, mode)
        ]
        return collect_activations(
            self.store, config.training, self.untrained, self.corpus, mode, parts
        )

    def inputs(self, mode: Mode) -> Inputs:
        """Return what ``train_student`` takes."""
        activations, dictionary = self.activations(mode), self.dictionary()
        candidates = select_candidates(self.store, self.config.training, activations, dictionary)
        beside = {"teacher": self.teacher, "text": self.corpus} if mode == "online" else {}
        return Inputs(self.untrained, activations, dictionary, candidates, **beside)


def smollm2(root: Path, **changes: dict[str, Any]) -> PipelineConfig:
    """Return the settings of SmolLM2-135M, 30 layers, its student the first 15 of them."""
    values: dict[str, dict[str, Any]] = {
        "teacher": {"source": "sample:smollm2-135m", "device": "cpu"},
        # Whole windows only: every contender's batch is 8 x 256 tokens, none of them padding.
        "corpus": {
            "source": "sample:enwiki-206",
            "window_tokens": WINDOW_TOKENS,
            "min_document_tokens": WINDOW_TOKENS,
            "max_document_tokens": WINDOW_TOKENS,
        },
        "student": {"n_layers": 15, "n_trainable_layers": 2},
        "training": {
            "batch_windows": 8,
            "max_train_tokens": 32 * WINDOW_TOKENS,
            "max_heldout_tokens": WINDOW_TOKENS,
            "warmup_share": 0.0,  # so that transformers' cosine has the same learning rates
            "n_epochs": 64.0,
            "checkpoint_steps": 1_000_000,
            "margin": "calibrated",
        },
    }
    for stage, settings in changes.items():
        values[stage] = values.get(stage, {}) | settings
    return PipelineConfig.model_validate({"root_uri": str(root / "artifacts")} | values)


def llama_like(root: Path) -> PipelineConfig:
    """Return the settings of a random llama whose widths are an eighth of Llama-3-8B's."""
    folder = root / "llama-like"
    student = {"n_layers": 16, "n_trainable_layers": 2}
    config = smollm2(root, teacher={"source": str(folder)}, student=student)
    if not (folder / "config.json").exists():
        _write_llama(folder, config)
    return config


def prepare(name: str, root: Path) -> Path:
    """Build a scenario's artifacts and batches; return its file."""
    config = {"smollm2": smollm2, "llama_like": llama_like}[name](root)
    stages = Stages(config)
    stages.inputs("online")
    activations = StoredActivations(stages.inputs("cached").activations, stages.store)
    schedule = Schedule(config.training, activations, None, None, seed=0)
    windows = load_windows(stages.corpus)
    batches = [
        [windows.window(window) for window in schedule.step(step).windows]
        for step in range(min(N_BATCHES, schedule.n_steps))
    ]
    file = root / f"{name}-batches.npy"
    np.save(file, np.array(batches, dtype=np.int32))
    pointed = stages.teacher.folder() / "weights.json"
    source = json.loads(pointed.read_text("utf-8"))["source"] if pointed.exists() else None
    folder = source or str(stages.teacher.folder())
    if name == "smollm2":
        Stages(changed(config, "training", temperature=1.0)).inputs("online")
        rows = {most: _rows_a_position(config, most, file) for most in RELATIONS}
        (root / "relations.json").write_text(json.dumps(rows), "utf-8")
    scenario = Scenario(config, folder, file.resolve(), schedule.n_steps)
    return scenario.write(root.resolve() / f"{name}.json")


def changed(config: PipelineConfig, stage: str, **values: Any) -> PipelineConfig:
    """Return settings with other values in one stage."""
    settings = getattr(config, stage).model_copy(update=values)
    return config.model_copy(update={stage: settings})


def with_relations(config: PipelineConfig, most: int) -> PipelineConfig:
    """Return the settings with another number of synonyms and antonyms a token."""
    return changed(config, "dictionary", max_synonyms=most, max_antonyms=most)


def _rows_a_position(config: PipelineConfig, most: int, batches: Path) -> float:
    """Build the dictionary and its candidates; return the mean size of P and A where either is."""
    stages = Stages(with_relations(config, most))
    stages.inputs("online")
    dictionary = load_dictionary(stages.inputs("cached").dictionary)
    tokens = np.load(batches)[:, :, 1:].ravel()
    related = tokens[dictionary.has_relations()[tokens]]
    lists = (dictionary.own, dictionary.synonyms, dictionary.antonyms)
    sizes = sum(np.diff(csr.offsets)[related] for csr in lists)
    return round(float(np.mean(sizes)), 1)


def _write_llama(folder: Path, config: PipelineConfig) -> None:
    """Write the random llama and a tokenizer of 16,032 tokens trained on the same text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    n_tokens = 128_256 // 8
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=n_tokens,
        special_tokens=["<eos>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (document.text for document in read_documents(config.corpus, Reading()))
    raw.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>").save_pretrained(folder)
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=n_tokens,
        hidden_size=4096 // 8,
        intermediate_size=14_336 // 8,
        num_hidden_layers=32,
        num_attention_heads=32 // 8,
        num_key_value_heads=8 // 8,
        max_position_embeddings=2048,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(shape).bfloat16().save_pretrained(folder)
