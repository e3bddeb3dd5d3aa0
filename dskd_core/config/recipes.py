"""Recipes: objectives as lists of named terms, beside those that are built in."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dskd_core.config.settings import Settings, Share, Text, Weight
from dskd_core.errors import shown

Arm = Text
"""The name of a recipe: a built-in one, or one of ``training.recipes``."""
OF_SETTINGS = ("kd", "paper", "kd_mse", "paper_own", "paper_shuffled", "paper_no_hinge")
"""The recipes whose weights are settings of the training."""
BUILT_IN = (*OF_SETTINGS, "recommended")
OLD_NAMES = {name.replace("paper", "dskd"): name for name in OF_SETTINGS if "paper" in name}
"""What the recipes of the paper were called before there was another than it and KD."""
Relations = Literal["dictionary", "own", "shuffled"]
"""Whose relations sense terms are made with."""
TermName = Literal[
    "ce",
    "kl",
    "state_mse",
    "state_cosine",
    "state_head_mse",
    "bridge",
    "positive",
    "negative",
    "ranking",
]
SENSE_TERMS = ("positive", "negative", "ranking")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class TermConfig(Settings):
    """One term of an objective: what is compared and how, its weight and when it counts."""

    term: TermName
    """ce: cross-entropy to the next token. kl: T^2 times the divergence from the teacher.
    state_mse, state_cosine, state_head_mse: the final state compared with the teacher's, by MSE, by
    1 - cosine, or by the MSE of what the head makes of both. bridge: 1 - cosine of the state that
    leaves the student's last layer before the widest gap between the layers copied and the one that
    enters the teacher's layer behind the gap. positive: MSE to the kappa nearest
    senses of the next token and of its synonyms. negative: the hinge of the margin on antonyms.
    ranking: synonyms' senses nearer than antonyms', where the next token has antonyms."""
    weight: Weight = 1.0
    """Weight of the term."""
    temperature: Annotated[float, Field(ge=0.01, le=1000.0)] | None = None
    """T of kl; training.temperature if empty. Another one than that forms the teacher's logits
    again in every step. Of ranking: how soft its minima and its margin are, 0.3 if empty. No other
    term has any."""
    margin: Weight | Literal["calibrated"] | None = None
    """gamma of negative; training.margin if empty. No other term has any."""
    offset: Weight | None = None
    """By how much an antonym shall be farther for ranking, as an MSE; 0.3 if empty."""
    schedule: Literal["constant", "linear", "first"] = "constant"
    """constant: the weight is the same in every step. linear: it falls to zero over the first
    schedule_share of the steps. first: it is whole in these steps and zero after them."""
    schedule_share: Share = 1.0
    """Share of the steps that linear and first speak of."""

    @model_validator(mode="after")
    def _settings_are_of_the_term(self) -> Self:
        owners = {
            "temperature": ("kl", "ranking"),
            "margin": ("negative",),
            "offset": ("ranking",),
        }
        for name, terms in owners.items():
            if getattr(self, name) is not None and self.term not in terms:
                raise ValueError(
                    f"{name} {getattr(self, name)} is given for the term {self.term!r}, and only "
                    f"{' and '.join(terms)} can have one; leave it out"
                )
        if self.term in ("ce", "kl") and self.schedule != "constant":
            raise ValueError(
                f"schedule {self.schedule!r} is given for the term {self.term!r}, whose weight is "
                "the same in every step; set it to constant"
            )
        return self

    def factor(self, done: float) -> float:
        """Return what the weight is multiplied with after a share of the steps.

        >>> falling = TermConfig(term="positive", schedule="linear", schedule_share=0.5)
        >>> [falling.factor(done) for done in (0.0, 0.25, 0.5, 0.9)]
        [1.0, 0.5, 0.0, 0.0]
        """
        if self.schedule == "constant":
            return 1.0
        if done >= self.schedule_share:
            return 0.0
        return 1.0 if self.schedule == "first" else 1.0 - done / self.schedule_share


_RECOMMENDED = (
    TermConfig(term="ce"),
    TermConfig(term="kl", weight=0.7, temperature=2.0),
)


class RecipeConfig(Settings):
    """An objective under a name, which ``evaluation.arms`` takes."""

    name: Text
    """Its name: lower-case letters, digits and underscores, at most 32; not that of a built-in."""
    terms: Annotated[tuple[TermConfig, ...], Field(max_length=16)]
    """What is added up, each term once; the terms that are not listed are not minimised."""

    start: Literal["copied", "fitted"] = "copied"
    """Where training starts. copied: from the teacher's layers as they are. fitted: with the last
    projection before the gap between them fitted by least squares, so that what leaves it is what
    enters the teacher's layer behind the gap; seconds, once a student."""
    relations: Relations = "dictionary"
    """Whose relations sense terms are made with: the dictionary's, none (own senses alone), or, as
    a control, those of another token."""

    @property
    def reads_gap(self) -> bool:
        """Whether it needs the teacher's state behind the gap between the layers copied."""
        return self.start == "fitted" or any(term.term == "bridge" for term in self.terms)

    @property
    def has_sense_terms(self) -> bool:
        """Whether it has L_sem; without it, a student depends on no dictionary."""
        return any(term.term in SENSE_TERMS for term in self.terms)

    @property
    def ranks_synonyms(self) -> bool:
        """Whether it ranks synonyms before antonyms."""
        return any(term.term == "ranking" for term in self.terms)

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or name in (*OF_SETTINGS, *OLD_NAMES, "teacher"):
            raise ValueError(
                f"name {shown(name)} is taken by what is built in, or is not made of at most 32 "
                "lower-case letters, digits and underscores, a letter first; choose another"
            )
        return name

    @model_validator(mode="after")
    def _recommended_is_what_is_recommended(self) -> Self:
        is_it = (self.terms, self.relations, self.start) == (_RECOMMENDED, "dictionary", "fitted")
        if self.name == "recommended" and not is_it:
            raise ValueError(
                "name 'recommended' is taken by what is built in, whose terms, relations or start "
                "are others; choose another"
            )
        return self

    @field_validator("terms")
    @classmethod
    def _each_term_once(cls, terms: tuple[TermConfig, ...]) -> tuple[TermConfig, ...]:
        names = [term.term for term in terms]
        if not any(term.weight for term in terms) or len(set(names)) < len(names):
            raise ValueError(
                f"terms {names} must name at least one term with a weight, and each once; "
                "add one, or merge those named twice"
            )
        return terms


RECOMMENDED = RecipeConfig(name="recommended", terms=_RECOMMENDED, start="fitted")
"""KD from a fitted start; docs/results.md says why no term of a lexicon is in it."""
