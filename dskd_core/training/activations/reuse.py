"""The final states that were captured for training, for whoever else needs the same ones.

The dictionary's embeddings are the teacher's final states over the corpus; activations hold those
of the windows to train on. Where they are captured first, extraction reads these (its protocol is
``KnownStates``) and runs the teacher over the other windows only: one pass for both.
"""

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.states import decode_states
from dskd_core.errors import ArtifactError
from dskd_core.store.artifacts import Artifact, ArtifactStore
from dskd_core.training.activations.layout import PART, Part, places_of

_READ = ("windows", "offsets", "states", "predicted")


class CapturedStates:
    """The teacher's final states in the windows of some ``activations-shard`` artifacts.

    Attributes:
        windows: [w] int64, their numbers in the corpus, held-out ones among them.
    """

    def __init__(self, shards: Sequence[Artifact]) -> None:
        """Open the shards; their states are read when asked for."""
        self._shards = shards
        opened = [Part(shard.group(PART), in_memory=False) for shard in shards]
        self._places = places_of(opened)
        self.windows: NDArray[np.int64] = np.fromiter(self._places, dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what is read here, from the records, and of nothing else in the shards.

        Another student or temperature captures the same states: the embeddings stay valid.
        """
        read = tuple(f"{PART}/{name}/" for name in _READ)
        files = [
            {n: entry["sha256"] for n, entry in shard.record.files.items() if n.startswith(read)}
            for shard in self._shards
        ]
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()

    def read(self, window: int, positions: slice) -> tuple[Tensor, NDArray[np.int64]]:
        """Return the states of a run of positions, and the token predicted after each.

        Args:
            window: its number.
            positions: in the window as the teacher read it, the prefix counted.

        Returns:
            (states [n, d] in the teacher's dtype, tokens [n] int64).
        """
        part, index = self._places[window]
        bits = part.rows(index, "states")[positions]
        states = torch.from_numpy(decode_states(bits, part.dtype)).to(getattr(torch, part.dtype))
        return states, part.rows(index, "predicted")[positions].astype(np.int64)


def captured_states(
    store: ArtifactStore, activations: Artifact, teacher: Artifact, corpus: Artifact
) -> CapturedStates:
    """Open the final states of activations, once a process.

    Raises:
        ArtifactError: if they are of another teacher or text, or a shard is gone.
    """
    for name, wanted in (("teacher", teacher), ("text", corpus)):
        if (theirs := activations.record.inputs[name]) != wanted.fingerprint:
            raise ArtifactError(
                f"The activations {activations.fingerprint} were captured from the {name} {theirs},"
                f" not from {wanted.record.stage} {wanted.fingerprint}; capture them for it."
            )
    return _captured_states(store.root_uri, activations.uri)


@lru_cache(maxsize=1)
def _captured_states(root_uri: str, activations_uri: str) -> CapturedStates:
    store = ArtifactStore(root_uri)
    names = store.open(activations_uri).record.report["parts"]
    return CapturedStates([store.get("activations-shard", name) for name in names])
