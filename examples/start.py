"""What the examples start from: a root with a dictionary, opened for a trainer."""

import argparse
import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from dskd_core import ArtifactStore, Decoder, Dictionary, load_decoder, load_dictionary
from dskd_core.config import TeacherConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Start:
    """A dictionary, the teacher that made it, its tokenizer, and real text as rows of token ids."""

    dictionary: Dictionary
    teacher: Decoder
    tokenizer: Any
    rows: list[dict[str, list[int]]]


def open_root(root: str) -> Start:
    """Open the newest dictionary of a root, and what its record says that it was made from."""
    store = ArtifactStore(root)
    found = store.of_stage("dictionary")
    dictionary = found[-1] if found else store.get("dictionary", "none")  # which says what to do
    senses = store.get("senses", dictionary.record.inputs["senses"])
    teacher = store.get("teacher", senses.record.inputs["teacher"])
    windows = load_windows(store.get("corpus", dictionary.record.inputs["corpus"]))
    rows = [
        {"input_ids": [*windows.prefix, *windows.window(number).tolist()]}
        for number in range(windows.n_windows)
        if not windows.heldout[number]
    ]
    return Start(
        load_dictionary(dictionary),
        load_decoder(teacher.folder(weights=True), TeacherConfig(dtype="float32")),
        load_tokenizer(teacher.folder()).hf,
        rows,
    )


def half_of(teacher: Decoder, n_trained: int = 2) -> Any:
    """Return the first half of the teacher's layers as a student, whose last layers train.

    Embeddings and head are the teacher's and frozen: the states of both mean the same to the head.
    """
    student = copy.deepcopy(teacher.model)
    layers = student.base_model.layers
    del layers[len(layers) // 2 :]
    student.config.num_hidden_layers = len(layers)
    for module in (*layers[-n_trained:], student.base_model.norm):
        module.requires_grad_(True)
    return student.train()


def collate(rows: list[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Pad rows on the right; labels are the ids themselves, as transformers wants them."""
    ids = [torch.tensor(row["input_ids"]) for row in rows]
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True)
    padded = pad_sequence(ids, batch_first=True)
    labels = padded.masked_fill(mask == 0, -100)
    return {"input_ids": padded, "attention_mask": mask, "labels": labels}


def next_tokens(labels: Tensor) -> Tensor:
    """Shift labels left: the label of position t is x_(t+1), and there is none after the last."""
    return pad(labels[:, 1:], (0, 1), value=-100)


def arguments(about: str | None) -> argparse.Namespace:
    """Read the command line that all examples have."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("root", nargs="?", default="work/artifacts", help="what make run leaves")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4, help="windows of a step")
    return parser.parse_args()
