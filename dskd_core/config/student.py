"""Which of the teacher's layers make the student, and which train."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from dskd_core.config.settings import Layers, Settings
from dskd_core.errors import shown


class StudentConfig(Settings):
    """The student's shape: a copy of part of the teacher."""

    n_layers: Layers | None = None
    """Layers kept; half of the teacher's if empty. Not set where layers is a list."""
    layers: (
        Literal["first", "first_last", "spaced"]
        | Annotated[tuple[Annotated[int, Field(ge=0, lt=4096)], ...], Field(max_length=4096)]
    ) = "first"
    """Which of the teacher's layers are copied: the first ones (paper), all but the trainable
    ones from the first and those from the last, evenly spaced ones, or a list counted from 0."""
    n_trainable_layers: Layers = 2
    """The last so many of them train; everything else, embeddings and head too, is frozen."""
    trainable_layers: (
        Literal["beside_cut"]
        | Annotated[tuple[Annotated[int, Field(ge=0, lt=4096)], ...], Field(max_length=4096)]
        | None
    ) = None
    """Train these instead: a list of the student's own layers, counted from 0, or beside_cut: the
    last n_trainable_layers, and as many before the widest gap between the layers copied (with
    several as wide, the last of them). Frozen layers between trainable ones run and stay."""
    train_final_norm: bool = False
    """Whether the final norm trains too; the head stays the teacher's."""

    @model_validator(mode="after")
    def _listed_layers_agree(self) -> Self:
        if isinstance(self.layers, str):
            return self
        if list(self.layers) != sorted(set(self.layers)) or not self.layers:
            raise ValueError(
                f"layers {shown(list(self.layers))} must name at least one layer, each once, "
                "ascending"
            )
        if self.n_layers not in {None, len(self.layers)}:
            raise ValueError(
                f"n_layers {self.n_layers} contradicts the {len(self.layers)} layers listed in "
                "layers; leave n_layers empty"
            )
        if self.n_trainable_layers > len(self.layers):
            raise ValueError(
                f"n_trainable_layers {self.n_trainable_layers} exceeds the {len(self.layers)} "
                "layers listed in layers; lower it"
            )
        return self

    @field_validator("trainable_layers")
    @classmethod
    def _each_trains_once(cls, layers: Any) -> Any:
        if isinstance(layers, tuple) and (not layers or list(layers) != sorted(set(layers))):
            raise ValueError(
                f"trainable_layers {shown(list(layers))} must name at least one layer, each once, "
                "ascending"
            )
        return layers
