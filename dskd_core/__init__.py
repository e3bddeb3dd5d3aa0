"""dskd's core as a library; Prefect is not needed.

What is named here is meant for users, see docs/python.md; everything else may change.

    load_config        a parameter file as settings
    ArtifactStore      a root with artifacts; Artifact is one of them
    load_dictionary    a dictionary's vectors by token: senses, synonyms, antonyms
    look_up            the same of a word, with its related words
    load_decoder       a model folder as this project sees one: states, head, logits
    distillation_loss  L_KD of Eq. 3, with its settings Distillation; TeacherTargets spare a product
    sense_terms        the terms of L_sem of Eq. 4-5
    SenseLoss          the same as an nn.Module, from a dictionary

Names are imported when they are first used: who only reads settings needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dskd_core.config import PipelineConfig, load_config
    from dskd_core.decoder.decoder import Decoder, load_decoder
    from dskd_core.dictionary.entries import Entry, look_up
    from dskd_core.dictionary.store import Dictionary, load_dictionary
    from dskd_core.store.artifacts import Artifact, ArtifactStore
    from dskd_core.training.losses.distillation import Distillation, distillation_loss
    from dskd_core.training.losses.senses import sense_terms
    from dskd_core.training.losses.targets import TeacherTargets
    from dskd_core.training.sense_loss import SenseLoss

_PLACES = {
    "PipelineConfig": "config",
    "load_config": "config",
    "Artifact": "store.artifacts",
    "ArtifactStore": "store.artifacts",
    "Dictionary": "dictionary.store",
    "load_dictionary": "dictionary.store",
    "Entry": "dictionary.entries",
    "look_up": "dictionary.entries",
    "Decoder": "decoder.decoder",
    "load_decoder": "decoder.decoder",
    "Distillation": "training.losses.distillation",
    "distillation_loss": "training.losses.distillation",
    "TeacherTargets": "training.losses.targets",
    "sense_terms": "training.losses.senses",
    "SenseLoss": "training.sense_loss",
}

__all__ = [
    "Artifact",
    "ArtifactStore",
    "Decoder",
    "Dictionary",
    "Distillation",
    "Entry",
    "PipelineConfig",
    "SenseLoss",
    "TeacherTargets",
    "distillation_loss",
    "load_config",
    "load_decoder",
    "load_dictionary",
    "look_up",
    "sense_terms",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _PLACES:
        raise AttributeError(f"module 'dskd_core' has no attribute {name!r}")
    return getattr(import_module(f"dskd_core.{_PLACES[name]}"), name)
