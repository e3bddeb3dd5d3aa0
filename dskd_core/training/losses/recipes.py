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

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dskd_core.config import BUILT_IN, Arm, RecipeConfig, TermConfig, TrainingConfig
from dskd_core.config.recipes import OF_SETTINGS, RECOMMENDED, Relations
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
        """Return the recipe of a name."""
        recipe = find_recipe(config, arm)
        own_margin = calibrated_margin if config.margin == "calibrated" else float(config.margin)
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
                for term in recipe.terms
            ),
            is_fitted=recipe.start == "fitted",
        )

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


def find_recipe(config: TrainingConfig, arm: Arm) -> RecipeConfig:
    """Return the recipe of a name as a list of terms.

    Raises:
        ConfigError: if there is none.
    """
    for recipe in (*config.recipes, RECOMMENDED):
        if recipe.name == arm:
            return recipe
    if arm not in OF_SETTINGS:
        names = ", ".join([*BUILT_IN, *(recipe.name for recipe in config.recipes)])
        raise ConfigError(f"The arm {arm!r} is no recipe; choose among {names}.")
    return _recipe_of_settings(config, arm)


def _recipe_of_settings(config: TrainingConfig, arm: Arm) -> RecipeConfig:
    """Return Eq. 3-5 with the weights of the settings, and an MSE to m_t: kd has no sense term."""
    weights = {
        "ce": 1.0,
        "kl": config.kl_weight,
        "state_mse": 1.0 if arm == "kd_mse" else config.state_weight,
    }
    if arm.startswith("paper"):
        weights["positive"] = config.positive_weight
        weights["negative"] = 0.0 if arm == "paper_no_hinge" else config.negative_weight
    controls: dict[str, Relations] = {"paper_own": "own", "paper_shuffled": "shuffled"}
    return RecipeConfig.model_construct(  # which a user may not call so
        name=arm,
        terms=tuple(TermConfig(term=name, weight=weight) for name, weight in weights.items()),  # type: ignore[arg-type]
        relations=controls.get(arm, "dictionary"),
    )


def recipe_settings(config: TrainingConfig, arm: Arm) -> dict[str, Any]:
    """Return what a student's record says of its recipe: nothing where settings say all of it."""
    if arm in OF_SETTINGS:
        return {}
    recipe = find_recipe(config, arm)
    start = {"start": recipe.start} if recipe.start != "copied" else {}
    return {"recipe": recipe.model_dump(mode="json")["terms"]} | start
