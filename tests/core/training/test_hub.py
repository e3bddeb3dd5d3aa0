from pathlib import Path

import pytest

from dskd_core.training.hub import push_student
from tests.miniature import Built, make


class Hub:
    """A hub that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict]] = []

    def create_repo(self, repository: str, **options) -> None:
        self.asked.append((f"repo {repository}", options))

    def create_branch(self, repository: str, **options) -> None:
        self.asked.append((f"branch {repository}", options))

    def upload_folder(self, **options) -> None:
        self.asked.append(("upload", options))


@pytest.fixture(scope="module")
def student(tmp_path_factory):
    return Built(make(tmp_path_factory.mktemp("hub"))).student("kd", 1)


def test_a_student_goes_to_a_branch_of_a_private_repository_with_its_card(student):
    hub = Hub()
    assert push_student(student, "us/small", hub=hub) == "kd-seed-1"
    (_, repo), (_, branch), (_, upload) = hub.asked
    assert repo == {"private": True, "exist_ok": True}
    assert branch["branch"] == upload["revision"] == "kd-seed-1"
    files = {path.name for path in Path(upload["folder_path"]).iterdir()}
    assert {"README.md", "config.json", "model.safetensors", "tokenizer.json"} <= files


def test_the_real_client_takes_what_it_is_asked():
    import inspect

    from huggingface_hub import HfApi

    for name, options in (
        ("create_repo", {"private", "exist_ok"}),
        ("create_branch", {"branch", "exist_ok"}),
        ("upload_folder", {"repo_id", "revision", "folder_path", "commit_message"}),
    ):
        assert options <= set(inspect.signature(getattr(HfApi, name)).parameters)


def test_the_card_says_data_licences_scores_and_how_to_cite(student, tmp_path):
    built = Built(make(tmp_path))
    card = (built.student("dskd", 0).folder() / "model" / "README.md").read_text()
    heldout = built.student("dskd", 0).record.report["heldout"]
    assert f"| ce | {heldout['ce']} |" in card
    assert "morphynet (derivations.tsv)" in card
    assert built.dictionary().fingerprint in card
    assert "arXiv:2602.22351" in card
    kd = (student.folder() / "model" / "README.md").read_text()
    assert "relations from" not in kd, "KD has seen no relations"


def test_the_heldout_scores_of_the_card_are_those_of_the_evaluation(tmp_path):
    built = Built(make(tmp_path, corpus={"heldout_share": 0.4}))
    student = built.student("dskd", 0)
    means = built.scores(student).record.report["means"]
    for name in ("ce", "kl"):
        assert student.record.report["heldout"][name] == pytest.approx(means[name], abs=2e-4)
