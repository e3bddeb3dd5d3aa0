"""Finished students on a model hub: a branch each, named by arm and seed."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from dskd_core.errors import ArtifactError
from dskd_core.store import access
from dskd_core.store.artifacts import Artifact
from dskd_core.store.hub import push_folder
from dskd_core.training.student.card import with_scores
from dskd_core.training.student.shape import MODEL


def push_student(student: Artifact, scores: Artifact, repository: str, *, hub: Any = None) -> str:
    """Upload a student's checkpoint to a branch of a hub repository; return the branch.

    The repository is made, private, if there is none. Credentials are the hub client's own
    (``HF_TOKEN`` or its login), never a setting of ours. A branch that has the same files already
    gets no new commit.

    The scores of that student on held-out text stand in the card. ``repository`` is ``owner/name``,
    ``hub`` a ``huggingface_hub.HfApi`` (the default client if None).

    Raises:
        ConfigError: if this process may not push there.
        ArtifactError: if the scores are of another student.
    """
    access.check_push(repository)
    if (theirs := scores.record.report["student"]) != student.fingerprint:
        raise ArtifactError(
            f"The scores {scores.fingerprint} are of student {theirs}, not of "
            f"{student.fingerprint}; give that student's scores."
        )
    report = student.record.report
    branch = f"{report['arm']}-seed-{report['seed']}"
    with tempfile.TemporaryDirectory(prefix="dskd-push-") as folder:
        # Links: the weights are gigabytes, and only the card is another.
        made = student.folder(weights=True) / MODEL
        shutil.copytree(made.resolve(), folder, dirs_exist_ok=True, copy_function=os.symlink)
        card = Path(folder) / "README.md"
        card.unlink()
        card.write_text(with_scores((made / "README.md").read_text("utf-8"), scores), "utf-8")
        message = f"Student {student.fingerprint} of dskd"
        push_folder(Path(folder), repository, kind="model", message=message, branch=branch, hub=hub)
    return branch
