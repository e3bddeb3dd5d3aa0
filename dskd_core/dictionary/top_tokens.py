"""The output tokens that a sense scores highest: its logits through the teacher's head.

A sense is a mean of final states, so W s + b are the logits it gives. Only the output matrix is
read, not the model. Scales and soft caps of a head keep the order of the logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from dskd_core.decoder.loading import weight_faults_told
from dskd_core.decoder.model_files import weight_files
from dskd_core.decoder.pretrained import pointed_to
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import Artifact

_ROWS_A_TIME = 8192
_HEADS = ("lm_head.weight", "output.weight", "embed_out.weight")
_BIAS = "lm_head.bias"
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "embed_in.weight", "tok_embeddings.weight")


@dataclass(frozen=True)
class TopTokenReader:
    """The teacher's head, and the texts of its rows.

    Attributes:
        weight: [V, d], W.
        bias: [V], or None.
        tokenizer: the teacher's.
    """

    weight: Tensor
    bias: Tensor | None
    tokenizer: Tokenizer

    def top_tokens(self, rows: np.ndarray, n_tokens: int = 8) -> list[list[str]]:
        """Return the texts of the tokens of largest logit, the largest first.

        Args:
            rows: [n, d], senses.
            n_tokens: how many of each.
        """
        known = self.weight[: self.tokenizer.n_tokens]
        senses = torch.from_numpy(rows.astype(np.float32))
        # A piece of the head at a time: the whole in float32 is 2 GB of a large teacher.
        pieces = [known[i : i + _ROWS_A_TIME] for i in range(0, len(known), _ROWS_A_TIME)]
        logits = torch.cat([senses @ piece.float().T for piece in pieces], dim=1)
        if self.bias is not None:
            logits += self.bias[: len(known)].float()
        top = logits.topk(min(n_tokens, len(known)), dim=1).indices.tolist()
        return [[readable(self.tokenizer.decode([token])) for token in row] for row in top]


def readable(text: str) -> str:
    """Return a token's text without its leading space, a part of a word with a dash before it.

    >>> readable(" bank"), readable("ing"), readable("("), readable(" ")
    ('bank', '-ing', '(', "' '")
    """
    if not text.strip() or not text.isprintable():
        return repr(text)
    return text[1:] if text.startswith(" ") else f"-{text}" if text[0].isalpha() else text


def load_top_token_reader(teacher: Artifact) -> TopTokenReader | str:
    """Read the head of a teacher from its safetensors files, or say why it cannot be.

    Raises:
        ArtifactError: if one of these files is damaged.
    """
    folder = teacher.folder(weights=True)
    place = _weights_folder(folder)
    if place is None:
        return "the teacher's weights are not on this machine"
    with weight_faults_told(place):
        names = dict(_tensors(place))
        head = next((n for ends in (_HEADS, _EMBEDDINGS) for n in names if n.endswith(ends)), None)
        if head is None:
            return f"{place} has no output matrix among its *.safetensors"
        weight = _read(names[head], head)
        bias = _read(names[_BIAS], _BIAS) if _BIAS in names else None
    return TopTokenReader(weight, bias, load_tokenizer(folder))


def _weights_folder(folder: Path) -> Path | None:
    target = pointed_to(folder)
    if target is None or Path(target[0]).is_dir():
        return Path(target[0]) if target else folder
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            target[0],
            revision=target[1],
            allow_patterns=["*.safetensors", "*.json"],
            local_files_only=True,
        )
        weight_files(Path(found))
    except (LocalEntryNotFoundError, HFValidationError, ConfigError):  # or not all of it is here
        return None
    return Path(found)


def _tensors(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield every tensor's name with the file that holds it and that the model is loaded from."""
    for file in weight_files(folder):
        with safe_open(file, framework="pt") as weights:
            yield from ((name, file) for name in weights.keys())  # noqa: SIM118 - not a dict


def _read(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as weights:
        return weights.get_tensor(name)  # type: ignore[no-any-return]
