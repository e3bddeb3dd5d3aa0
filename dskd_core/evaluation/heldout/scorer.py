"""One window of a model's states, held against teacher, text and dictionary."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.head import Head
from dskd_core.dictionary.store import Dictionary, load_dictionary
from dskd_core.training.activations.capture import WindowActivations
from dskd_core.training.candidates.readers import StoredCandidates
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.losses.logits import Buffers, Walk
from dskd_core.training.losses.senses import mean_square
from dskd_core.training.losses.targets import TeacherStates, targets_suffice
from dskd_core.training.losses.vocabulary import score_vocabulary


@dataclass(frozen=True)
class HeldoutScorer:
    """What the states of a window are held against.

    Attributes:
        head: the teacher's, in the precision of the products.
        rows: [r, d], of the dictionary.
        dictionary: with the synonyms and antonyms of every token.
        candidates: the kappa positives and negatives of a position; None where none were found, and
            distances to them are not measured.
        temperature: T of the KL.
        buffers: memory of logits, kept from window to window.
    """

    head: Head
    rows: Tensor
    dictionary: Dictionary
    candidates: StoredCandidates | None
    temperature: float
    buffers: Buffers = field(default_factory=Buffers)

    @classmethod
    def from_student(
        cls, student: Decoder, inputs: Inputs, compute_dtype: str, *, with_candidates: bool = True
    ) -> "HeldoutScorer":
        """Put the head, which is the teacher's, and the senses on the student's device."""
        dictionary, taught = load_dictionary(inputs.dictionary), inputs.activations.record
        return cls(
            student.output.to(getattr(torch, compute_dtype)),
            torch.from_numpy(dictionary.rows).to(student.device),
            dictionary,
            StoredCandidates(inputs.candidates, len(taught.report["parts"]))
            if with_candidates
            else None,
            float(taught.config["temperature"]),
        )

    @torch.no_grad()
    def score(self, states: Tensor, window: WindowActivations) -> tuple[dict[str, float], pa.Table]:
        """Return the sums and counts of one window, and its positions: see ``store.py``.

        Args:
            states: [n, d] float32, n_t at every position of the window.
            window: its activations.
        """
        device = self.rows.device
        scored = torch.nonzero(window.labels >= 0)[:, 0]
        n, labels = states.to(device)[scored.to(device)], window.labels[scored].to(device)
        m = window.teacher_states[scored].to(device).float()
        targets = window.targets.at(scored).to(device)
        exact = targets_suffice(self.head, "forward_kl")
        teacher = targets if exact else TeacherStates(m, "forward_kl")
        walk = Walk(self.head, len(n), self.temperature, 0.0, False, self.buffers)
        vocabulary = score_vocabulary(walk, n, labels, teacher)
        gap = (n - m).square().mean(dim=1)
        n_both, n_nearer = self.nearer(n, window.labels[scored].numpy())
        sums = {
            "n_positions": len(scored),
            "ce": _sum(vocabulary.ce),
            "kl": _sum(vocabulary.kl),
            "top1_agreement": _sum(vocabulary.predicted == targets.predicted),
            "accuracy": _sum(vocabulary.predicted == labels),
            "state_mse": _sum(gap),
            **self._near(n, window, scored),
            "n_with_both": n_both,
            "n_synonym_nearer": n_nearer,
        }
        return sums, _positions(window.window, labels, vocabulary.predicted, vocabulary.ce)

    def _near(self, states: Tensor, window: WindowActivations, scored: Tensor) -> dict[str, float]:
        """Return positions with candidates, and sums of the distances to them."""
        if self.candidates is None:
            return {}
        positives, negatives = self.candidates.read(window, scored)
        n_positives, positive = self._mse(states, positives.to(states.device))
        n_negatives, negative = self._mse(states, negatives.to(states.device))
        return {
            "n_with_positives": n_positives,
            "own_synonym_mse": positive,
            "n_with_negatives": n_negatives,
            "antonym_mse": negative,
        }

    def nearer(self, states: Tensor, labels: NDArray[np.int64]) -> tuple[int, int]:
        """Count positions with synonyms and antonyms, and those where a synonym is nearer.

        Equal distances are not nearer.

        Args:
            states: [n, d] float32.
            labels: [n], next tokens.
        """
        n_both = n_nearer = 0
        for token in np.unique(labels):
            synonyms = self.dictionary.synonyms.rows_of(int(token))
            antonyms = self.dictionary.antonyms.rows_of(int(token))
            if len(synonyms) and len(antonyms):
                here = states[torch.from_numpy(np.flatnonzero(labels == token)).to(states.device)]
                nearer = self._least(here, synonyms) < self._least(here, antonyms)
                n_both += len(here)
                n_nearer += int(nearer.sum())
        return n_both, n_nearer

    def _least(self, states: Tensor, rows: NDArray[np.int64]) -> Tensor:
        """Return the MSE, [n], between each state and the nearest of some rows."""
        candidates = self.rows[torch.from_numpy(rows).to(states.device)]
        # One state at a time: n x rows x d is held by nobody, and no cancelling square is formed.
        return torch.stack([(candidates.float() - s).square().mean(dim=1).min() for s in states])

    def _mse(self, states: Tensor, rows: Tensor) -> tuple[int, float]:
        """Return how many positions have rows, and the sum over them of their mean MSE."""
        real = rows >= 0
        have = real.any(dim=1)
        errors = mean_square(states[have], self.rows[rows[have].clamp(min=0)])
        means = (errors * real[have]).sum(dim=1) / real[have].sum(dim=1)
        return int(have.sum()), _sum(means)


def _sum(values: Tensor) -> float:
    return float(values.double().sum())


def _positions(window: int, labels: Tensor, predicted: Tensor, ce: Tensor) -> pa.Table:
    columns = {
        "window": pa.array(np.full(len(labels), window), pa.int32()),
        "label": pa.array(labels.cpu().numpy(), pa.int32()),
        "predicted": pa.array(predicted.cpu().numpy(), pa.int32()),
        "ce": pa.array(ce.float().cpu().numpy(), pa.float32()),
    }
    return pa.table(columns)
