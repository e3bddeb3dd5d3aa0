"""Finished students on a model hub: a branch each, named by arm and seed."""

from typing import Any

from dskd_core import access
from dskd_core.artifacts import Artifact
from dskd_core.training.student import MODEL


def push_student(student: Artifact, repository: str, *, hub: Any = None) -> str:
    """Upload a student's checkpoint to a branch of a hub repository; return the branch.

    The repository is made, private, if there is none. Credentials are the hub client's own
    (``HF_TOKEN`` or its login), never a setting of ours. A branch that has the same files already
    gets no new commit.

    Args:
        student: with its checkpoint and model card.
        repository: ``owner/name``.
        hub: a ``huggingface_hub.HfApi``; the default client if None.

    Raises:
        ConfigError: if this process may not push there.
    """
    access.check_push(repository)
    if hub is None:
        from huggingface_hub import HfApi

        hub = HfApi()
    report = student.record.report
    branch = f"{report['arm']}-seed-{report['seed']}"
    hub.create_repo(repository, private=True, exist_ok=True)
    hub.create_branch(repository, branch=branch, exist_ok=True)
    hub.upload_folder(
        repo_id=repository,
        revision=branch,
        folder_path=str(student.folder(weights=True) / MODEL),
        commit_message=f"Student {student.fingerprint} of dskd",
    )
    return branch
