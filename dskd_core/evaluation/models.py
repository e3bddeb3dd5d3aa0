"""Whatever is scored: a teacher, a student, or any transformers checkpoint."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from dskd_core.decoder.decoder import quiet_transformers
from dskd_core.decoder.faults import faults_told
from dskd_core.decoder.model_files import model_view
from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import Artifact
from dskd_core.training.student.shape import MODEL

_CONTEXT = 2048
"""Tokens a model is taken to read where its configuration does not say."""


def model_folder(model: Artifact) -> Path:
    """Return the transformers folder of an artifact: ``model/`` of a student, else all of it."""
    folder = model.folder()
    return folder / MODEL if (folder / MODEL).is_dir() else folder


@lru_cache(maxsize=8)
def model_config(folder: Path) -> Any:
    """Return the transformers configuration of a checkpoint.

    Raises:
        ConfigError: if transformers makes none of it.
    """
    from transformers import AutoConfig

    with (
        model_view(folder) as view,
        faults_told(f"The config.json of {folder}", ConfigError),
        quiet_transformers(),
    ):
        return AutoConfig.from_pretrained(str(view), local_files_only=True, trust_remote_code=False)


def context_tokens(folder: Path) -> int:
    """Return how many tokens a model reads."""
    config = model_config(folder)
    names = ("max_position_embeddings", "n_positions", "n_ctx")
    return next((int(n) for name in names if (n := getattr(config, name, None))), _CONTEXT)
