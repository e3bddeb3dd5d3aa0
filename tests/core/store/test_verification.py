"""Every kind of damage is found, named, and not mistaken for another."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from dskd_core.store import places
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.store.verification import verify


@pytest.fixture
def copied(nexted, tmp_path):
    """Copy all artifacts of the miniature, and return the folder of one of a stage."""
    nexted.dictionary()
    shutil.copytree(nexted.store.root_uri, tmp_path / "root")
    store = ArtifactStore(str(tmp_path / "root"))
    return lambda stage: Path(store.of_stage(stage)[-1].uri)


def _said(folder: Path, **options) -> list[str]:
    return [f"{p.where} {p.what}" for p in verify(str(folder), **options).problems]


def _alter(folder: Path, name: str, index, value) -> None:
    """Change a value of a Zarr array and seal the record again: only the content is wrong."""
    group, _, key = name.partition("/")
    array = zarr.open_group(folder / group, mode="r+")[key]
    array[index] = value
    _seal(folder)


def _seal(folder: Path) -> None:
    record = json.loads((folder / "record.json").read_text())
    record["files"] = {
        name: {
            "bytes": (folder / name).stat().st_size,
            "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest(),
        }
        for name in places.files_under(folder)
        if name != "record.json"
    }
    record.pop("seal", None)
    (folder / "record.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    "stage", ["dictionary", "senses", "senses-shard", "embeddings-shard", "embeddings"]
)
def test_what_dskd_published_is_well(copied, stage):
    assert _said(copied(stage)) == []


@pytest.mark.parametrize("stage", ["corpus", "words", "relations", "lexicon", "teacher"])
def test_stages_without_arrays_of_senses_are_well_too(copied, stage):
    assert _said(copied(stage)) == []


def test_a_flipped_byte_names_the_file_and_the_chunk(copied):
    folder = copied("dictionary")
    chunk = next((folder / "dictionary.zarr/rows/c").rglob("0"))
    chunk = chunk if chunk.is_file() else next(p for p in chunk.rglob("*") if p.is_file())
    content = bytearray(chunk.read_bytes())
    content[7] ^= 1
    chunk.write_bytes(content)
    name = chunk.relative_to(folder).as_posix()
    said = _said(folder)
    assert f"{name} has another SHA-256 than the record says" in said
    assert any(s.startswith("dictionary.zarr/rows/c/0/0 cannot be read") for s in said)


def test_a_truncated_file_is_named_with_both_sizes(copied):
    folder = copied("dictionary")
    content = (folder / "words.parquet").read_bytes()
    (folder / "words.parquet").write_bytes(content[:100])
    assert f"words.parquet has 100 bytes, the record says {len(content)}" in _said(folder)


def test_a_missing_chunk_is_named_although_zarr_would_read_zeros(copied):
    folder = copied("senses")
    (folder / "senses.zarr/counts/c/0").unlink()
    _seal(folder)
    assert "senses.zarr/counts lacks 1 of 1 chunks" in _said(folder)


def test_a_stray_file_is_named(copied):
    folder = copied("words")
    (folder / "notes.txt").write_text("mine")
    assert _said(folder) == ["notes.txt is not in the record"]


def test_the_record_of_another_build_is_found_out(copied, nexted):
    folder = copied("dictionary")
    record = json.loads((folder / "record.json").read_text())
    record["config"]["max_antonyms"] = 7
    (folder / "record.json").write_text(json.dumps(record))
    assert any("which its config and inputs do not give" in s for s in _said(folder))
    shutil.copy(copied("senses") / "record.json", folder / "record.json")
    said = _said(folder)
    assert any("stands at dictionary/" in s for s in said)
    assert any("examples.parquet is missing" in s for s in said)


def test_a_row_id_beyond_the_rows_is_named_with_its_place(copied):
    folder = copied("dictionary")
    _alter(folder, "dictionary.zarr/antonym_rows", 3, 99_999)
    assert any("the first is 99999 at index 3" in s for s in _said(folder))


def test_offsets_that_fall_are_named(copied):
    folder = copied("dictionary")
    offsets = zarr.open_group(folder / "dictionary.zarr", mode="r")["synonym_offsets"][:]
    at = int(np.flatnonzero(np.diff(offsets))[0]) + 1
    _alter(folder, "dictionary.zarr/synonym_offsets", at, offsets[-1] + 5)
    assert any(s.startswith(f"synonym_offsets falls from {offsets[-1] + 5}") for s in _said(folder))


def test_a_sense_of_the_token_itself_among_its_antonyms_is_named(copied):
    folder = copied("dictionary")
    group = zarr.open_group(folder / "dictionary.zarr", mode="r")
    own, negative = group["own_offsets"][:], group["antonym_offsets"][:]
    token = int(np.flatnonzero((np.diff(own) > 0) & (np.diff(negative) > 0))[0])
    _alter(folder, "dictionary.zarr/antonym_rows", int(negative[token]), int(own[token]))
    said = _said(folder)
    expected = f"has 1 senses of the token itself, the first is row {own[token]} of token {token}"
    assert f"antonym_rows {expected}" in said


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_value_that_is_no_number_is_named_with_its_index(copied, value):
    folder = copied("senses")
    _alter(folder, "senses.zarr/centroids", (2, 5), value)
    said = _said(folder)
    assert any(
        s == "senses.zarr/centroids/c/0/0 has 1 values that are no finite numbers, "
        "the first at (2, 5)"
        for s in said
    )


def test_bfloat16_bits_are_checked_for_numbers_too(copied):
    folder = copied("embeddings-shard")
    array = zarr.open_group(folder / "part.zarr", mode="r+")
    shape = array["states"].shape
    bits = array.create_array("bits", shape=shape, dtype=np.uint16, chunks=shape)
    bits[...] = 0x3F80  # 1.0
    bits[1, 1] = 0x7FC0  # not a number
    _seal(folder)
    assert any("part.zarr/bits" in s and "at (1, 1)" in s for s in _said(folder))


def test_senses_that_are_not_those_of_the_inventory_are_named(copied):
    folder = copied("dictionary")
    _alter(folder, "dictionary.zarr/rows", (4, 0), 3.25)
    assert _said(folder) == ["dictionary.zarr/rows differs from the senses at row 4"]


def test_an_input_that_is_gone_is_named_unless_the_artifact_stands_alone(copied):
    folder = copied("dictionary")
    shutil.rmtree(folder.parents[1] / "senses")
    assert any(s.startswith("input senses senses/") for s in _said(folder))
    assert _said(folder, alone=True) == []


def test_inputs_of_different_teachers_are_named(copied):
    folder = copied("dictionary")
    record = copied("senses") / "record.json"
    record.write_text(record.read_text().replace('"corpus": "', '"corpus": "0000'))
    assert any(s.startswith("input senses was made with the corpus 0000") for s in _said(folder))


def test_all_problems_are_found_and_not_only_the_first(copied):
    folder = copied("dictionary")
    _alter(folder, "dictionary.zarr/antonym_rows", 0, -5)
    _alter(folder, "dictionary.zarr/rows", (1, 1), np.nan)
    (folder / "words.parquet").write_bytes(b"nothing")
    said = " ".join(_said(folder))
    for name in ("antonym_rows", "dictionary.zarr/rows/c/0/0", "words.parquet"):
        assert name in said
