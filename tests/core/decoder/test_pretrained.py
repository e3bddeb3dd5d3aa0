"""Folders of models that are not what they should be."""

import json

import pytest

from dskd_core.decoder.model_files import INDEX
from dskd_core.decoder.pretrained import (
    POINTER,
    check_index,
    check_model_folder,
    check_names,
    check_token_ids,
    pointed_to,
)
from dskd_core.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "root" / "model"
    folder.mkdir(parents=True)
    for name in ("config.json", "model-1.safetensors"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def restricted(folder, monkeypatch):
    monkeypatch.setenv("DSKD_ROOTS", str(folder.parent))


def write_index(folder, *names):
    places = {f"tensor {i}": name for i, name in enumerate(names)}
    (folder / INDEX).write_text(json.dumps({"weight_map": places}))


def test_a_checkpoint_of_safetensors_is_taken(folder, restricted):
    write_index(folder, "model-1.safetensors")
    assert [path.name for path in check_model_folder(folder)] == ["model-1.safetensors"]


@pytest.mark.parametrize("name", ["../other.safetensors", "/etc/x.safetensors", "gone.safetensors"])
def test_an_index_names_files_beside_it_only(folder, name):
    (folder.parent / "other.safetensors").write_text("{}")
    write_index(folder, "model-1.safetensors", name)
    with pytest.raises(ConfigError, match=r"names '.*', which is no \*\.safetensors beside it"):
        check_model_folder(folder)


@pytest.mark.parametrize("text", ["[", "[]", '{"weight_map": 3}', '{"weight_map": {"a": {}}}'])
def test_an_index_that_is_none_is_refused(folder, text):
    (folder / INDEX).write_text(text)
    with pytest.raises(ConfigError, match=r"is no index of weights|beside it"):
        check_index(folder)


def test_weights_linked_from_elsewhere_are_refused(folder, restricted, tmp_path):
    (tmp_path / "secret").write_text("{}")
    (folder / "model-2.safetensors").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="none of the places this worker may read"):
        check_model_folder(folder)


def test_a_chat_template_linked_from_elsewhere_is_refused_with_and_without_roots(folder, tmp_path):
    write_index(folder, "model-1.safetensors")
    (tmp_path / "secret").write_text("HF_TOKEN=x")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "a.jinja").symlink_to(tmp_path / "secret")
    with pytest.raises(ConfigError, match="out of the model's folder"):
        check_model_folder(folder)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["config.json", "pytorch_model.bin"], r"pickles \(pytorch_model\.bin\)"),
        (["config.json", "consolidated.00.pth"], r"pickles \(consolidated\.00\.pth\)"),
        (["config.json"], r"lacks config\.json or \*\.safetensors"),
        (["model.safetensors"], r"lacks config\.json"),
        (["config.json", "model.safetensors", "adapter_config.json"], "an adapter"),
    ],
)
def test_what_cannot_be_read_as_data_is_refused(names, why):
    with pytest.raises(ConfigError, match=why):
        check_names(names, "The folder x")
    check_names(["config.json", "model.safetensors", "pytorch_model.bin"], "The folder x")


@pytest.mark.parametrize(
    "pointer",
    [
        {"source": "/etc", "revision": None},
        {"source": "../../elsewhere", "revision": None},
        {"source": "file:///etc", "revision": None},
        {"source": "owner/model", "revision": "../../x"},
        {"source": 3, "revision": None},
        {},
    ],
)
def test_a_pointer_in_an_artifact_is_not_believed(folder, restricted, pointer):
    (folder / POINTER).write_text(json.dumps(pointer))
    with pytest.raises(ConfigError):
        pointed_to(folder)


def test_a_pointer_to_a_model_that_may_be_read_is_followed(folder, restricted):
    write_index(folder, "model-1.safetensors")
    place = folder.parent / "artifact"
    place.mkdir()
    (place / POINTER).write_text(json.dumps({"source": str(folder), "revision": None}))
    assert pointed_to(place) == (str(folder), None)
    (place / POINTER).write_text(json.dumps({"source": "owner/model", "revision": "0" * 40}))
    assert pointed_to(place) == ("owner/model", "0" * 40)
    assert pointed_to(folder) is None


def test_ids_without_holes_that_all_have_a_row_are_taken_padded_or_not():
    check_token_ids({"a": 0, "b": 2, "c": 1}, 3, "x")
    check_token_ids({"a": 0, "b": 2, "c": 1}, 64, "x")


def test_tokens_without_a_row_are_refused_by_the_last_of_them():
    said = r"2 tokens of x have no embedding.*'d' the id 3.*has 2 rows; resize.*embeddings\(4\)"
    with pytest.raises(ConfigError, match=said):
        check_token_ids({"a": 0, "b": 2, "c": 1, "d": 3}, 2, "x")


def test_holes_in_the_ids_are_refused_with_the_first_of_them():
    said = (
        r"no token for 12 ids \(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, \.\.\.\) below its last, 'z' with 13"
    )
    with pytest.raises(ConfigError, match=said):
        check_token_ids({"a": 0, "z": 13}, 14, "x")
    with pytest.raises(ConfigError, match=r"1 ids \(0\)"):
        check_token_ids({"a": 1}, 2, "x")
    with pytest.raises(ConfigError, match="no tokens"):
        check_token_ids({}, 2, "x")
