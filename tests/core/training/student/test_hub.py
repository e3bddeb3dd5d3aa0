from pathlib import Path

import pytest

from dskd_core.errors import ArtifactError
from dskd_core.training.student.hub import push_student
from tests.miniature import Built, make


class Hub:
    """A hub that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []

    def create_repo(self, repository: str, **options) -> None:
        self.asked.append((f"repo {repository}", options))

    def create_branch(self, repository: str, **options) -> None:
        self.asked.append((f"branch {repository}", options))

    def create_commit(self, repository: str, operations: list, **options) -> None:
        files = {one.path_in_repo: Path(one.path_or_fileobj).read_bytes() for one in operations}
        self.asked.append((f"commit {repository}", options | {"files": files}))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return Built(make(tmp_path_factory.mktemp("hub")))


@pytest.fixture(scope="module")
def student(built):
    return built.student("kd", 1)


def test_a_student_goes_to_a_branch_of_a_private_repository_with_its_scores_in_its_card(
    built, student
):
    hub, scores = Hub(), built.scores(student)
    assert push_student(student, scores, "us/small", hub=hub) == "kd-seed-1"
    (_, repo), (_, branch), (_, upload) = hub.asked
    assert repo == {"repo_type": "model", "private": True, "exist_ok": True}
    assert branch["branch"] == upload["revision"] == "kd-seed-1"
    files = upload["files"]
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    model = student.folder() / "model"
    assert files["model.safetensors"] == (model / "model.safetensors").read_bytes()
    card, means = files["README.md"].decode(), scores.record.report["means"]
    assert card.startswith((model / "README.md").read_text())
    assert f"| ce | {round(means['ce'], 4)} |" in card


def test_scores_of_another_student_are_refused_before_anything_is_pushed(built, student):
    hub = Hub()
    with pytest.raises(ArtifactError, match="not of"):
        push_student(student, built.scores(built.student("paper", 0)), "us/small", hub=hub)
    assert not hub.asked


def test_the_real_client_takes_what_it_is_asked():
    import inspect

    from huggingface_hub import HfApi

    for name, options in (
        ("create_repo", {"repo_type", "private", "exist_ok"}),
        ("create_branch", {"repo_type", "branch", "exist_ok"}),
        ("create_commit", {"operations", "repo_type", "revision", "commit_message"}),
        ("list_repo_files", {"repo_type", "revision"}),
    ):
        assert options <= set(inspect.signature(getattr(HfApi, name)).parameters)


def test_the_card_says_data_licences_scores_and_how_to_cite(student, tmp_path):
    built = Built(make(tmp_path))
    card = (built.student("paper", 0).folder() / "model" / "README.md").read_text()
    student_of = built.student("paper", 0).record
    assert f"products in float32 on {student_of.processor}" in card
    assert "morphynet (derivations.tsv)" in card
    assert built.dictionary().fingerprint in card
    assert "arXiv:2602.22351" in card
    kd = (student.folder() / "model" / "README.md").read_text()
    assert "relations from" not in kd, "KD has seen no relations"
