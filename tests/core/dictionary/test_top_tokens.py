import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dskd_core.decoder.decoder import load_teacher
from dskd_core.dictionary.description import describe
from dskd_core.dictionary.top_tokens import TopTokenReader, load_top_token_reader, readable
from dskd_core.errors import ArtifactError
from dskd_core.senses.inventory import load_senses
from dskd_core.store import places
from dskd_core.store.artifacts import Artifact


def test_a_sense_reads_as_the_tokens_of_largest_logit(nexted):
    teacher = nexted.teacher()
    rows = load_senses(nexted.senses()).centroids[:5]
    reader = load_top_token_reader(teacher)
    assert isinstance(reader, TopTokenReader)
    model = load_teacher(teacher, nexted.config.teacher)
    n_tokens = reader.tokenizer.n_tokens
    with torch.inference_mode():
        head = model.model.get_output_embeddings()
        logits = head(torch.from_numpy(rows.astype(np.float32)))[:, :n_tokens]
    for row, said in zip(logits, reader.top_tokens(rows), strict=True):
        best = row.argsort(descending=True)[:8].tolist()
        assert said == [readable(reader.tokenizer.decode([token])) for token in best]


@pytest.fixture
def without_weights(nexted, tmp_path) -> Artifact:
    """The teacher as an artifact that points to weights that are not here."""
    teacher = nexted.teacher()
    folder = tmp_path / "teacher"
    folder.mkdir()
    for file in Path(teacher.uri).iterdir():
        if file.is_file() and not file.name.endswith(".safetensors"):
            (folder / file.name).write_bytes(file.read_bytes())
    pointer = {"source": "nobody/nothing-at-all", "revision": "0" * 40}
    (folder / "weights.json").write_text(json.dumps(pointer))
    files = places.described(folder, flushed=False)
    return Artifact(str(folder), replace(teacher.record, files=files))


def test_weights_that_are_not_here_are_said_to_be_absent(without_weights):
    assert load_top_token_reader(without_weights) == "the teacher's weights are not on this machine"


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "shape"])
def test_damaged_weights_elsewhere_are_refused_in_a_sentence(nexted, without_weights, damage):
    source = Path(nexted.config.teacher.source)
    elsewhere = Path(without_weights.uri).parent / "elsewhere"
    shutil.copytree(source, elsewhere)
    weights = elsewhere / "model.safetensors"
    data = weights.read_bytes()
    changed = {
        "empty": b"",
        "cut": data[:-1000],
        "header": data[:8] + b"x" + data[9:],
        "shape": data.replace(b'"shape":[32]', b'"shape":[99]', 1),
    }[damage]
    assert changed != data
    weights.write_bytes(changed)
    pointer = Path(without_weights.uri) / "weights.json"
    pointer.write_text(json.dumps({"source": str(elsewhere)}))
    files = places.described(Path(without_weights.uri), flushed=False)
    teacher = Artifact(without_weights.uri, replace(without_weights.record, files=files))
    with pytest.raises(ArtifactError, match=f"{elsewhere} are damaged .*; copy the whole"):
        load_top_token_reader(teacher)


def test_a_word_is_shown_without_the_weights_too(nexted, without_weights, monkeypatch):
    get = type(nexted.store).get

    def teacher_elsewhere(store, stage, fingerprint):
        return without_weights if stage == "teacher" else get(store, stage, fingerprint)

    dictionary = nexted.dictionary()
    monkeypatch.setattr(type(nexted.store), "get", teacher_elsewhere)
    text = describe(nexted.store, dictionary, "light")
    assert "are not shown: the teacher's weights are not on this machine" in text
    assert "sense 0" in text
    assert "dark" in text
