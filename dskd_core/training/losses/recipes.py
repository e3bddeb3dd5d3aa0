"""Recipes: the objectives by name, each a list of terms (Eq. 3-5 of arXiv:2602.22351 and others).

    ce              CE(student, x_(t+1))
    kl              T^2 D(teacher_T || student_T)
    state_mse       ||n_t - m_t||^2 / d
    state_cosine    1 - cos(n_t, m_t)
    state_head_mse  ||W (n_t - m_t)||^2 / V
    bridge          1 - cos(b_t, B_t), of the state that leaves the student's last layer before the
                    gap between its layers and the one that enters the teacher's layer behind it
    positive        mean_{p in P} MSE(n_t, p)
    negative        mean_{a in A} max(0, gamma - MSE(n_t, a))
    ranking         tau softplus((s - a + offset) / tau), see ranking.py

The paper's is ce + alpha kl + beta_p positive + beta_n negative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dskd_core.config import BUILT_IN, Arm, RecipeConfig, TermConfig, TrainingConfig
from dskd_core.config.recipes import RECOMMENDED, SENSE_TERMS
from dskd_core.errors import ConfigError

RANKING = 0.3
"""tau and offset of ranking where a recipe says nothing."""
STATE_TERMS = ("state_mse", "state_cosine", "state_head_mse", "bridge")


@dataclass(frozen=True)
class Recipe:
    """The terms of an objective, every temperature and margin resolved to a number.

    Attributes:
        terms: what is added up.
        is_fitted: whether training starts with the gap closed by least squares.
    """

    terms: tuple[TermConfig, ...]
    is_fitted: bool = False

    @classmethod
    def from_config(cls, config: TrainingConfig, arm: Arm, calibrated_margin: float) -> "Recipe":
        """Return the recipe of a name: kd drops both sense terms, kd_mse pulls to m_t instead."""
        own_margin = calibrated_margin if config.margin == "calibrated" else float(config.margin)
        if custom := find_recipe(config, arm):
            margins: dict[Any, float] = {"calibrated": calibrated_margin, None: own_margin}
            return cls(
                tuple(
                    term.model_copy(
                        update={
                            "temperature": term.temperature
                            or (RANKING if term.term == "ranking" else config.temperature),
                            "offset": RANKING if term.offset is None else term.offset,
                            "margin": margins.get(term.margin, term.margin),
                        }
                    )
                    for term in custom.terms
                ),
                is_fitted=custom.start == "fitted",
            )
        has_senses = arm.startswith("paper")
        return cls.paper(
            positive=config.positive_weight if has_senses else 0.0,
            negative=config.negative_weight if has_senses and arm != "paper_no_hinge" else 0.0,
            margin=own_margin,
            state=1.0 if arm == "kd_mse" else config.state_weight,
            kl=config.kl_weight,
            temperature=config.temperature,
        )

    @classmethod
    def paper(
        cls,
        *,
        positive: float,
        negative: float,
        margin: float,
        state: float,
        kl: float,
        temperature: float,
    ) -> "Recipe":
        """Return Eq. 3-5 with these weights, and plain MSE to the teacher's state beside them."""
        terms: Mapping[str, dict[str, Any]] = {
            "ce": {"weight": 1.0},
            "kl": {"weight": kl, "temperature": temperature},
            "state_mse": {"weight": state},
            "positive": {"weight": positive},
            "negative": {"weight": negative, "margin": margin},
        }
        return cls(tuple(TermConfig(term=name, **given) for name, given in terms.items()))  # type: ignore[arg-type]

    @cached_property
    def by_name(self) -> dict[str, TermConfig]:
        """The terms by their names."""
        return {term.term: term for term in self.terms}

    def weight(self, name: str, done: float = 0.0) -> float:
        """Return the weight of a term after a share of the steps; 0 for one that is not listed."""
        term = self.by_name.get(name)
        return term.weight * term.factor(done) if term else 0.0

    @property
    def temperature(self) -> float:
        """T of the divergence; 1 where there is none."""
        kl = self.by_name.get("kl")
        return kl.temperature or 1.0 if kl else 1.0

    @property
    def margin(self) -> float:
        """Gamma; 0 where there is no hinge."""
        negative = self.by_name.get("negative")
        return float(negative.margin or 0.0) if negative else 0.0  # type: ignore[arg-type]

    @property
    def logged(self) -> tuple[str, ...]:
        """The terms that are logged beside those of every objective."""
        return tuple(name for name in (*STATE_TERMS[1:], "ranking") if name in self.by_name)


def find_recipe(config: TrainingConfig, arm: Arm) -> RecipeConfig | None:
    """Return the recipe of a name as a list of terms; None where the settings make it.

    Raises:
        ConfigError: if it is neither.
    """
    for recipe in (*config.recipes, RECOMMENDED):
        if recipe.name == arm:
            return recipe
    if arm not in BUILT_IN:
        names = ", ".join([*BUILT_IN, *(recipe.name for recipe in config.recipes)])
        raise ConfigError(f"The arm {arm!r} is no recipe; choose among {names}.")
    return None


def has_sense_terms(config: TrainingConfig, arm: Arm) -> bool:
    """Say whether an arm has L_sem; without it, a student depends on no dictionary."""
    if custom := find_recipe(config, arm):
        return any(term.term in SENSE_TERMS for term in custom.terms)
    return arm.startswith("paper")


def ranks_synonyms(config: TrainingConfig, arm: Arm) -> bool:
    """Say whether an arm ranks synonyms before antonyms."""
    custom = find_recipe(config, arm)
    return custom is not None and custom.ranks_synonyms


def reads_gap(config: TrainingConfig, arm: Arm) -> bool:
    """Say whether an arm needs the teacher's state behind the gap between the student's layers."""
    custom = find_recipe(config, arm)
    return custom is not None and custom.reads_gap


def recipe_settings(config: TrainingConfig, arm: Arm) -> dict[str, Any]:
    """Return what a student's record says of its recipe: nothing where it is a built-in one."""
    custom = find_recipe(config, arm)
    if custom is None:
        return {}
    start = {"start": custom.start} if custom.start != "copied" else {}
    return {"recipe": custom.model_dump(mode="json")["terms"]} | start
