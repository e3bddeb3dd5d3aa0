"""The student: some layers of the teacher, of which only a few train.

Student and teacher agree bit for bit in their longest *shared* prefix: the student's first layers
that are the teacher's first ones and do not train. So whatever the teacher does there is done for
both, and training runs only the *tail*: the layers from the first trainable one on and the final
norm, entered with the state h that arrives there. Before training the whole student is published
once as it starts (stage ``untrained-student``): training and scoring read that, and never the
teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from dskd_core.config import StudentConfig, TeacherConfig
from dskd_core.decoder.decoder import (
    Decoder,
    device_lock,
    load_decoder,
    load_teacher,
)
from dskd_core.decoder.precision import processor_of, resolved_teacher
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work
from dskd_core.training.student.export import write_untrained
from dskd_core.training.student.gap_fit import find_projection
from dskd_core.training.student.proof import check_layers
from dskd_core.training.student.tail import Tail, final_norm

STAGE = "untrained-student"
MODEL = "model"
_TRIED_TOKENS = 24


@dataclass(frozen=True)
class Shape:
    """Which layers of the teacher make the student, and which of them train.

    Attributes:
        layers: the teacher's layer behind each of the student's, ascending.
        entry: the student's first trainable layer; later ones train too, but for the frozen.
        frozen: layers of the student after ``entry`` that do not train, ascending.
        trains_norm: whether the final norm trains.
    """

    layers: tuple[int, ...]
    entry: int
    frozen: tuple[int, ...] = ()
    trains_norm: bool = False

    @classmethod
    def from_config(cls, config: StudentConfig, n_teacher_layers: int) -> "Shape":
        """Resolve the settings against a teacher.

        >>> shape = Shape.from_config(StudentConfig(n_layers=4, layers="first_last"), 8)
        >>> shape.layers, shape.trained
        ((0, 1, 6, 7), (2, 3))
        >>> Shape.from_config(StudentConfig(n_layers=4, layers="spaced"), 8).layers
        (0, 2, 5, 7)

        Raises:
            ConfigError: if the student would have more layers than the teacher, or layers are to
                train that it has not.
        """
        listed = None if isinstance(config.layers, str) else config.layers
        n_layers = len(listed) if listed else config.n_layers or n_teacher_layers // 2
        if not 0 < n_layers <= n_teacher_layers:
            raise ConfigError(
                f"student.n_layers {n_layers} does not fit a teacher of {n_teacher_layers} layers; "
                "choose fewer."
            )
        if config.n_trainable_layers > n_layers:
            raise ConfigError(
                f"student.n_trainable_layers {config.n_trainable_layers} exceeds the student's "
                f"{n_layers} layers; choose fewer."
            )
        n_frozen = n_layers - config.n_trainable_layers
        if listed:
            layers = listed
        elif config.layers == "first":
            layers = tuple(range(n_layers))
        elif config.layers == "first_last":
            last = range(n_teacher_layers - config.n_trainable_layers, n_teacher_layers)
            layers = (*range(n_frozen), *last)
        else:
            spaced = np.linspace(0, n_teacher_layers - 1, n_layers).round().astype(int)
            layers = tuple(spaced.tolist())
        if layers[-1] >= n_teacher_layers:
            raise ConfigError(
                f"student.layers {list(layers)} names layer {layers[-1]}, but the teacher's last "
                f"is {n_teacher_layers - 1}; choose among those."
            )
        trained = _trained(config, layers)
        frozen = tuple(n for n in range(trained[0], n_layers) if n not in trained)
        return cls(layers, trained[0], frozen, config.train_final_norm)

    @property
    def n_layers(self) -> int:
        """Layers of the student."""
        return len(self.layers)

    @property
    def trained(self) -> tuple[int, ...]:
        """The student's layers that train, ascending."""
        return tuple(n for n in range(self.entry, self.n_layers) if n not in self.frozen)

    @property
    def behind_gap(self) -> int:
        """The student's first layer behind the widest gap, whose input a recipe may speak of.

        Raises:
            ConfigError: if there is no gap, or nothing before it trains.
        """
        cut = cut_of(self.layers)
        if cut is None or not any(number <= cut for number in self.trained):
            why = "skip none in between" if cut is None else "train only behind their widest gap"
            raise ConfigError(
                f"A recipe has the term bridge or the start fitted, but the student's layers "
                f"{list(self.layers)} {why}; set student.layers first_last and "
                "student.trainable_layers beside_cut, or leave both out of the recipe."
            )
        return cut + 1

    @property
    def fitted(self) -> int:
        """The student's layer that a recipe's start is fitted in: the last before the gap.

        Raises:
            ConfigError: if there is no gap, or that layer does not train.
        """
        if (layer := self.behind_gap - 1) not in self.trained:
            raise ConfigError(
                f"A recipe has the start fitted, but the student's layer {layer}, the last before "
                "its gap, does not train; set student.trainable_layers beside_cut, or the recipe's "
                "start to copied."
            )
        return layer

    @property
    def shared(self) -> int:
        """Length of the longest prefix that is the teacher's own and does not train."""
        own = [number == layer for number, layer in enumerate(self.layers[: self.entry])]
        return own.index(False) if False in own else self.entry


def cut_of(layers: Sequence[int]) -> int | None:
    """Return the student's last layer before the widest gap between the layers copied.

    Of several gaps as wide the last counts; None where no layer in between was left out.

    >>> cut_of((0, 1, 2, 10, 11)), cut_of((0, 2, 5, 7)), cut_of((0, 1, 2))
    (2, 1, None)
    """
    gaps = [(after - before, n) for n, (before, after) in enumerate(pairwise(layers))]
    width, place = max(gaps, default=(1, 0))
    return place if width > 1 else None


def _trained(config: StudentConfig, layers: Sequence[int]) -> tuple[int, ...]:
    """Return the student's layers that train, ascending."""
    n_layers, n_last, listed = len(layers), config.n_trainable_layers, config.trainable_layers
    last = range(n_layers - n_last, n_layers)
    if listed is None:
        return tuple(last)
    if listed != "beside_cut":
        if listed[-1] >= n_layers:
            raise ConfigError(
                f"student.trainable_layers {list(listed)} names layer {listed[-1]}, but the "
                f"student's last is {n_layers - 1}; choose among those."
            )
        return listed
    if (cut := cut_of(layers)) is None:
        raise ConfigError(
            f"student.trainable_layers 'beside_cut' finds no gap in the layers {list(layers)} that "
            "are copied; leave it empty, or choose other student.layers (first_last has one)."
        )
    return tuple(sorted({*range(max(0, cut + 1 - n_last), cut + 1), *last}))


def prepare_student(
    store: ArtifactStore, config: StudentConfig, teacher_config: TeacherConfig, teacher: Artifact
) -> Artifact:
    """Publish the student as it is before training: a plain transformers checkpoint.

    Training and scoring need nothing else of the teacher's weights: they run where the teacher
    never was.

    Raises:
        ConfigError: if its layers would not compute what the teacher's do.
    """
    teacher_config = resolved_teacher(teacher_config)
    settings = config.model_dump(mode="json", exclude=_as_usual(config))
    settings |= {"dtype": teacher_config.dtype}
    if config.layers != "first":  # as was once done without a proof
        settings["layers_proven"] = True
    work = Work(STAGE, settings, {"teacher": teacher.fingerprint})
    if found := store.find(work):
        return found
    with device_lock, store.publish(work) as draft:
        decoder = load_teacher(teacher, teacher_config)
        shape = Shape.from_config(config, len(decoder.layers))
        if shape.trains_norm:
            final_norm(decoder.model.base_model)
        check_layers(decoder, shape.layers, shape.entry, shape.shared)
        draft.computed(decoder.precision, processor_of(decoder.device))
        draft.path(MODEL).mkdir()
        tokenizer = load_tokenizer(teacher.folder())
        tokenizer.hf.save_pretrained(draft.path(MODEL))
        n_parameters = write_untrained(decoder, shape.layers, draft.path(MODEL))
        draft.counts |= {"layers": shape.n_layers, "parameters": n_parameters}
        draft.report |= {
            "source": teacher.record.report["source"],
            "teacher_source": teacher_config.source,
            "tokenizer": tokenizer.fingerprint,
            "layers": list(shape.layers),
            "entry": shape.entry,
            "frozen": list(shape.frozen),
            "trains_norm": shape.trains_norm,
            "shared_layers": shape.shared,
            "gap_projection": _gap_projection(decoder, shape),
            "hidden_size": decoder.head.shape[1],
            "teacher_layers": len(decoder.layers),
            "teacher_parameters": int(decoder.model.num_parameters()),
        }
    return store.get(work.stage, work.fingerprint)


def _gap_projection(teacher: Decoder, shape: Shape) -> str | None:
    """Return the projection that a start can be fitted in; None where there is none."""
    if (cut := cut_of(shape.layers)) is None or cut not in shape.trained:
        return None
    ids = torch.arange(_TRIED_TOKENS, device=teacher.device)[None] % teacher.n_tokens
    found = find_projection(teacher.layers[shape.layers[cut]], lambda: teacher.states(ids))
    return found.name if found else None


def _as_usual(config: StudentConfig) -> set[str]:
    """Return the later settings that are at their default: students made before them stand."""
    fields = StudentConfig.model_fields
    later = ("trainable_layers", "train_final_norm")
    return {name for name in later if getattr(config, name) == fields[name].default}


def shape_of(untrained: Artifact) -> Shape:
    """Return the shape an untrained student was published with."""
    report = untrained.record.report
    frozen = tuple(report.get("frozen", ()))
    trains_norm = bool(report.get("trains_norm", False))
    return Shape(tuple(report["layers"]), int(report["entry"]), frozen, trains_norm)


def copy_tail(student: Decoder, shape: Shape) -> Tail:
    """Copy the layers of a student from its first trainable one on, and its final norm."""
    frozen = tuple(number - shape.entry for number in shape.frozen)
    return Tail(student, shape.entry, frozen=frozen, trains_norm=shape.trains_norm)


def load_student(untrained: Artifact, config: TeacherConfig) -> Decoder:
    """Load an untrained student onto the teacher's device, once a process."""
    return load_decoder(untrained.folder(weights=True) / MODEL, config)
