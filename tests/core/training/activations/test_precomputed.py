"""A machine that has what the teacher left, and not the teacher."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dskd_core.errors import ArtifactError
from dskd_core.store.artifacts import RECORD, Artifact, Work
from dskd_core.training.activations.precomputed import find_precomputed
from dskd_core.training.activations.store import VERSION
from dskd_core.training.candidates.store import select_candidates
from dskd_core.training.loop.inputs import Inputs
from dskd_core.training.loop.loop import train_student
from tests.miniature import Built, make

TRAVELS = ("untrained-student", "activations", "activations-shard", "dictionary")


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Built:
    built = Built(make(tmp_path_factory.mktemp("here")))
    built.activations()
    built.dictionary()
    return built


@pytest.fixture
def there(here, tmp_path) -> Built:
    """Another machine: neither teacher nor text, only what training needs."""
    root = tmp_path / "there"
    for stage in TRAVELS:
        shutil.copytree(Path(here.config.root_uri) / stage, root / stage)
    training = here.config.training.model_copy(update={"mode": "precomputed"})
    return Built(here.config.model_copy(update={"root_uri": str(root), "training": training}))


def train(built: Built) -> Artifact:
    store, config = built.store, built.config
    found = find_precomputed(store, config)
    candidates = select_candidates(store, config.training, found.activations, found.dictionary)
    return train_student(
        store,
        config.training,
        config.teacher,
        Inputs(found.untrained, found.activations, found.dictionary, candidates),
        arm="paper",
        seed=0,
    )


def test_a_student_is_trained_to_the_same_bytes_where_the_teacher_never_was(here, there):
    assert train(there).record.content == here.student("paper", 0).record.content


@pytest.mark.parametrize(
    ("stage", "change", "told"),
    [
        (
            "teacher",
            {"source": "other/model"},
            r"teacher\.source is '.*' there, 'other/model' here",
        ),
        ("training", {"temperature": 3.0}, r"training\.temperature is 2\.0 there, 3\.0 here"),
        ("corpus", {"window_tokens": 32}, r"text\.window_tokens is 16 there, 32 here"),
        ("student", {"n_trainable_layers": 1}, r"student\.n_trainable_layers is 2 there, 1 here"),
        ("student", {"train_final_norm": True}, r"student\.train_final_norm is False there, True"),
    ],
)
def test_activations_of_other_settings_are_refused_by_name(there, stage, change, told):
    settings = getattr(there.config, stage).model_copy(update=change)
    with pytest.raises(ArtifactError, match=told):
        find_precomputed(there.store, there.config.model_copy(update={stage: settings}))


def test_activations_of_an_earlier_version_of_the_stage_are_refused(there):
    """Its settings would fit: what changed is what is computed from them."""
    [folder] = (Path(there.config.root_uri) / "activations").iterdir()
    record = there.store.open(str(folder)).record
    old = Work(record.stage, record.config, record.inputs, VERSION - 1).fingerprint
    aged = replace(record, fingerprint=old).sealed()
    (folder / RECORD).write_text(json.dumps(asdict(aged)))
    folder.rename(folder.with_name(old))
    told = f"made by version {VERSION - 1} of the stage, this dskd reads {VERSION}"
    with pytest.raises(ArtifactError, match=told):
        find_precomputed(there.store, there.config)


def test_an_empty_root_says_what_to_copy(there, tmp_path):
    config = there.config.model_copy(update={"root_uri": str(tmp_path / "empty")})
    with pytest.raises(ArtifactError, match=r"none at all.*copy the stages untrained-student"):
        find_precomputed(Built(config).store, config)
