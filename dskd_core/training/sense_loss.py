"""L_sem as a module for anybody's trainer: a dictionary in, the two sense terms of a batch out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dskd_core.decoder.placement import onto
from dskd_core.dictionary.store import Dictionary
from dskd_core.errors import ConfigError
from dskd_core.training.candidates.nearest import nearest_on_device
from dskd_core.training.losses.senses import SenseTerms, sense_terms


@dataclass(frozen=True)
class WeightedTerms:
    """L_sem of a batch.

    Attributes:
        loss: beta_p positive + beta_n negative, differentiable.
        terms: both before their weights, means over the positions that have positives.
        n_positions: these.
    """

    loss: Tensor
    terms: SenseTerms
    n_positions: int


class SenseLoss(nn.Module):
    """L_sem of Eq. 4-5 of arXiv:2602.22351, at every position whose next token has senses.

        L_sem = beta_p mean_{p in P} MSE(n_t, p) + beta_n mean_{a in A} max(0, gamma - MSE(n_t, a))

    P and A are the kappa rows nearest to m_t among the own senses and synonyms, and among the
    antonyms, of the next token. The rows are a buffer without gradient: they move with the module
    and are not part of its state dict.
    """

    rows: Tensor

    def __init__(
        self,
        dictionary: Dictionary,
        *,
        n_candidates: int = 5,
        margin: float = 1.0,
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
    ) -> None:
        """Keep the dictionary's rows, [r, d].

        Args:
            dictionary: of the teacher that gives m_t, see ``load_dictionary``.
            n_candidates: kappa.
            margin: gamma.
            positive_weight: beta_p.
            negative_weight: beta_n.

        Raises:
            ConfigError: if the margin or a weight is below 0, or kappa below 1.
        """
        super().__init__()
        given = {"margin": margin, "positive_weight": positive_weight}
        given |= {"negative_weight": negative_weight, "n_candidates": n_candidates - 1}
        for name, value in given.items():
            if not value >= 0:
                raise ConfigError(f"{name} {value} is too small; give at least 0 (kappa: 1).")
        self.dictionary, self.n_candidates, self.margin = dictionary, n_candidates, margin
        self.positive_weight, self.negative_weight = positive_weight, negative_weight
        self.register_buffer("rows", torch.from_numpy(dictionary.rows), persistent=False)

    def forward(
        self,
        student_states: Tensor,
        teacher_states: Tensor,
        labels: Tensor,
        attention_mask: Tensor | None = None,
    ) -> WeightedTerms:
        """Return the terms of a batch, differentiable in the student's states.

        Args:
            student_states: [..., d], n_t: final states after the norm, of the same head as m_t.
            teacher_states: [..., d], m_t.
            labels: [...] int64, x_(t+1), already shifted; below 0 (such as -100) there is none.
            attention_mask: [...], 0 at positions to leave out; all count if None.

        Raises:
            ConfigError: if the states are not as wide as the dictionary's rows, what is given has
                other positions than the student's states, or a label is no token of the dictionary.
        """
        d, mask = self.rows.shape[1], attention_mask
        self._check_widths(student_states, teacher_states)
        given = {"teacher_states": teacher_states.shape[:-1], "labels": labels.shape}
        given |= {} if mask is None else {"attention_mask": mask.shape}
        _check_positions(student_states.shape[:-1], given)
        scored = labels if mask is None else torch.where(mask.bool(), labels, -1)
        tokens = scored.flatten().cpu().numpy()  # waits for a GPU that has the labels, once
        kept = self._find_sensed(tokens)
        places = onto(torch.from_numpy(kept), student_states.device)
        near = nearest_on_device(
            teacher_states.detach().reshape(-1, d).index_select(0, places),
            tokens[kept],
            self.dictionary,
            self.rows,
            n_candidates=self.n_candidates,
        )
        terms = sense_terms(
            student_states.reshape(-1, d).index_select(0, places),
            self.rows,
            near.positives,
            near.negatives,
            margin=self.margin,
            hinge=bool(self.negative_weight),
            opposed=onto(near.opposed, student_states.device),
        )
        loss = self.positive_weight * terms.positive + self.negative_weight * terms.negative
        return WeightedTerms(loss, terms, len(kept))

    def _check_widths(self, student_states: Tensor, teacher_states: Tensor) -> None:
        widths, d = (student_states.shape[-1], teacher_states.shape[-1]), self.rows.shape[1]
        if widths != (d, d):
            raise ConfigError(
                f"States of widths {widths[0]} and {widths[1]} do not fit a dictionary of width "
                f"{d}; use the dictionary of this teacher."
            )

    def _find_sensed(self, tokens: NDArray[np.integer]) -> NDArray[np.intp]:
        """Return the places of the labels that have positives."""
        has_senses = self.dictionary.has_senses()
        if len(tokens) and tokens.max() >= len(has_senses):
            raise ConfigError(
                f"The label {tokens.max()} is no token of the dictionary, which has "
                f"{len(has_senses)}; use the dictionary of this tokenizer."
            )
        return np.flatnonzero(has_senses[tokens.clip(min=0)] & (tokens >= 0))


def _check_positions(positions: torch.Size, given: Mapping[str, torch.Size]) -> None:
    for name, there in given.items():
        if there != positions:
            raise ConfigError(
                f"{name} has the positions {list(there)} and student_states {list(positions)}; "
                "give both of the same positions: a label for every state, -100 after the last "
                "token."
            )
