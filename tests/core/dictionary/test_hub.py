"""A dictionary on a hub: a server on loopback that the real client speaks with."""

import dataclasses
import hashlib
import json
import logging
import shutil
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
from huggingface_hub import HfApi

from dskd_core.dictionary.download import fetch_dictionary
from dskd_core.dictionary.hub import push_dictionary, without_refused_licences
from dskd_core.dictionary.licences import obstacle, refused_licences
from dskd_core.dictionary.store import load_dictionary
from dskd_core.errors import ArtifactError, ConfigError, DataError
from dskd_core.store.artifacts import ArtifactStore, Record
from dskd_core.store.places import sha256_of_file
from tests.core.corpus.fake_hub import COMMIT, FakeHub
from tests.core.corpus.fake_storage import Pointer, Storage
from tests.miniature import Built, make

TOKEN = "hf_" + "s3cr3t" * 6


FILES = {
    "free": ("CC BY 4.0", "light,dark,antonym\nhappy,kind,synonym\nunkind,friendly,antonym\n"),
    "other": ("CC BY-NC-SA 4.0", "light,dark,antonym\nsmall,large,antonym\n"),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A dictionary of two files of pairs, the free one first, and of a share-alike morphology."""
    folder = tmp_path_factory.mktemp("hub")
    sources = []
    for name, (licence, rows) in FILES.items():
        path = folder / f"{name}.csv"
        path.write_text(f"word_a,word_b,relation\n{rows}")
        sources.append({"kind": "word_pairs", "uri": str(path), "licence": licence})
    built = Built(make(folder, lexicon={"sources": sources}))
    built.dictionary()
    return built


@pytest.fixture(scope="module")
def free(built):
    return without_refused_licences(built.store, built.dictionary())


@pytest.fixture
def there(tmp_path, monkeypatch):
    monkeypatch.setenv("DSKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with FakeHub({}) as hub:
        hub.api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        yield hub


@pytest.fixture
def pushed(there, built, free):
    assert push_dictionary(built.store, free, "us/senses", hub=there.api) == COMMIT
    return there


def test_a_dictionary_comes_back_from_the_hub_as_it_was_pushed(pushed, free, caplog):
    with caplog.at_level(logging.DEBUG):
        fetched = fetch_dictionary("hub:us/senses", hub=pushed.api)
    assert fetched.record == free.record
    there, here = load_dictionary(fetched), load_dictionary(free)
    np.testing.assert_array_equal(there.rows, here.rows)
    np.testing.assert_array_equal(there.antonyms.rows, here.antonyms.rows)
    assert {"README.md", "record.json", "words.parquet"} < set(pushed.datasets["us/senses"])
    assert pushed.made[0]["visibility"] == "private"
    assert pushed.made[0]["type"] == "dataset"
    assert f"hub:us/senses@{COMMIT} pins it" in caplog.text
    assert f"Bearer {TOKEN}" in pushed.tokens
    assert TOKEN not in caplog.text
    n_asked = len(pushed.asked)
    again = load_dictionary(f"hub:us/senses@{COMMIT}")  # no hub is asked: it is there
    np.testing.assert_array_equal(again.rows, here.rows)
    assert len(pushed.asked) == n_asked


def test_pushing_anew_replaces_what_an_earlier_dictionary_left(pushed, built, free):
    pushed.datasets["us/senses"]["dictionary.zarr/rows/c/7/0"] = b"of an earlier, larger one"
    push_dictionary(built.store, free, "us/senses", hub=pushed.api)
    assert "dictionary.zarr/rows/c/7/0" not in pushed.datasets["us/senses"]


LARGE, PART = 500, 3_000


@pytest.fixture
def of_large_files(tmp_path, monkeypatch):
    """A hub that keeps files of 500 bytes outside git, and takes those of 3,000 in parts."""
    monkeypatch.setenv("DSKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    with FakeHub({}, Storage(large_from=LARGE, part_bytes=PART)) as hub:
        hub.api = HfApi(endpoint=hub.endpoint, token=TOKEN)
        yield hub


def large_files(hub) -> dict[str, Pointer]:
    files = hub.datasets["us/senses"].items()
    return {name: data for name, data in files if isinstance(data, Pointer)}


def test_large_files_go_through_lfs_whole_or_in_parts_and_come_back(of_large_files, built, free):
    hub, sizes = of_large_files, {n: e["bytes"] for n, e in free.record.files.items()}
    commit = push_dictionary(built.store, free, "us/senses", hub=hub.api)
    large = large_files(hub)
    assert {name: pointer.size for name, pointer in large.items() if name != "record.json"} == {
        name: size for name, size in sizes.items() if size >= LARGE
    }
    in_parts = {place.partition("/")[0] for place in hub.storage.sent if "/" in place}
    assert in_parts == {pointer.oid for pointer in large.values() if pointer.size > PART}
    whole = {place for place in hub.storage.sent if "/" not in place}
    assert in_parts
    assert whole
    assert whole | in_parts == hub.storage.objects.keys()
    assert hub.asked.count("verify") == len(large)
    fetched = fetch_dictionary(f"hub:us/senses@{commit}", hub=hub.api)
    assert fetched.record == free.record
    np.testing.assert_array_equal(load_dictionary(fetched).rows, load_dictionary(free).rows)
    assert hub.storage.tokens == {None}, "the storage is another host: the token is not for it"
    assert not any("xet" in path for path in hub.asked)


def test_one_commit_brings_a_dictionary_and_an_older_one_stands_at_its_own(
    of_large_files, built, free
):
    hub = of_large_files
    hub.datasets["us/senses"] = {"dictionary.zarr/rows/c/7/0": b"of an earlier, larger one"}
    first = push_dictionary(built.store, free, "us/senses", hub=hub.api)
    assert hub.datasets["us/senses"].keys() == {*free.record.files, "record.json"}
    assert len([path for path in hub.asked if "/commit/" in path]) == 1
    n_sent = len(hub.storage.sent)
    assert push_dictionary(built.store, free, "us/senses", hub=hub.api) == first
    assert len(hub.storage.sent) == n_sent
    edited = hub.api.upload_file(
        path_or_fileobj=b"# Mine",
        path_in_repo="README.md",
        repo_id="us/senses",
        repo_type="dataset",
    )
    last = push_dictionary(built.store, free, "us/senses", hub=hub.api)
    assert len({first, edited.oid, last}) == 3
    with pytest.raises(DataError, match=r"says otherwise of README\.md"):
        fetch_dictionary(f"hub:us/senses@{edited.oid}", hub=hub.api)
    for commit in (first, last):
        assert fetch_dictionary(f"hub:us/senses@{commit}", hub=hub.api).record == free.record


@pytest.mark.parametrize("broken", ["upload", "commit"])
def test_a_push_that_broke_off_is_said_and_goes_on_where_it_was(
    of_large_files, built, free, broken
):
    hub = of_large_files
    if broken == "upload":
        hub.storage.max_uploads = 3
    else:
        hub.fails["commit"] = 500
    with pytest.raises(ArtifactError) as refusal:
        push_dictionary(built.store, free, "us/senses", hub=hub.api)
    said = str(refusal.value)
    assert f"us/senses did not take the dictionary {free.fingerprint} (HfHubHTTPError" in said
    assert said.endswith("and push again: what was uploaded is not sent again.")
    assert "storage" not in said
    assert "\n" not in said
    assert hub.datasets["us/senses"] == {}, "no commit, so no part of a dictionary"
    kept = set(hub.storage.objects)
    hub.storage.max_uploads, hub.fails, hub.storage.sent[:] = 1_000, {}, []
    commit = push_dictionary(built.store, free, "us/senses", hub=hub.api)
    assert kept.isdisjoint(place.partition("/")[0] for place in hub.storage.sent)
    assert (broken == "commit") == (hub.storage.sent == [])
    assert fetch_dictionary(f"hub:us/senses@{commit}", hub=hub.api).record == free.record


def flipped(content: bytes) -> bytes:
    return content[:20] + bytes([content[20] ^ 1]) + content[21:]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("dictionary.zarr/rows/c/0/0", flipped),
        ("words.parquet", cut),
        ("words.parquet", None),
        ("record.json", flipped),
    ],
)
def test_an_object_that_is_damaged_cut_short_or_gone_is_refused_and_nothing_is_kept(
    of_large_files, built, free, tmp_path, name, harm
):
    hub = of_large_files
    commit = push_dictionary(built.store, free, "us/senses", hub=hub.api)
    data = hub.storage.objects.pop(large_files(hub)[name].oid)
    if harm:
        hub.storage.objects[large_files(hub)[name].oid] = harm(data)
    with pytest.raises((ArtifactError, DataError)) as refusal:
        fetch_dictionary(f"hub:us/senses@{commit}", hub=hub.api)
    said = str(refusal.value)
    assert said.startswith("hub:us/senses")
    assert "push it again" in said
    assert "\n" not in said
    assert "://" not in said
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_a_repository_with_files_of_others_is_not_pushed_to(of_large_files, built, free):
    hub = of_large_files
    hub.datasets["us/senses"] = {"data/train.csv": b"theirs", ".gitattributes": b""}
    with pytest.raises(DataError, match=r"us/senses has 'data/train.csv'.*take it out, or push"):
        push_dictionary(built.store, free, "us/senses", hub=hub.api)
    assert hub.storage.sent == []
    assert hub.datasets["us/senses"].keys() == {"data/train.csv", ".gitattributes"}


def test_a_hub_that_is_not_there_or_knows_no_such_dictionary_is_one_sentence(
    of_large_files, built, free
):
    with pytest.raises(ArtifactError, match=r"does not say what hub:us/none has \(Repo.*404"):
        fetch_dictionary("hub:us/none", hub=of_large_files.api)
    of_large_files.datasets["us/senses"] = {}
    with pytest.raises(DataError, match=r"no record\.json"):
        fetch_dictionary("hub:us/senses", hub=of_large_files.api)
    nobody = HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)
    with pytest.raises(ArtifactError, match=r"did not take.*\(ConnectError"):
        push_dictionary(built.store, free, "us/senses", hub=nobody)


def test_licences_are_refused_by_name_and_source_before_the_hub_is_asked(built, there):
    with pytest.raises(ConfigError) as refusal:
        push_dictionary(built.store, built.dictionary(), "us/senses", hub=there.api)
    said = str(refusal.value)
    assert "CC BY-NC-SA 4.0 (no commercial use) of word_pairs (other.csv)" in said
    assert "CC BY-SA 3.0 (share-alike) of morphynet (derivations.tsv)" in said
    assert "CC BY 4.0" not in said
    assert "--licence-filter" in said
    assert not there.asked


def test_the_filter_leaves_out_pairs_that_rest_on_such_licences_alone(built, free):
    assert refused_licences(built.store, free) == []
    assert without_refused_licences(built.store, free) == free
    words = built.store.get("words", free.record.inputs["words"])
    relations = built.store.get("relations", words.record.inputs["relations"])
    kept = relations.table("pairs.parquet").to_pylist()
    assert {(row["word_a"], row["word_b"]) for row in kept} == {
        ("dark", "light"),  # which a free source says, too
        ("happy", "kind"),
        ("friendly", "unkind"),
    }
    assert [source["file"] for source in free.record.report["sources"]] == ["free.csv"]
    assert "other.csv" not in (Path(free.uri) / "README.md").read_text()


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("Public domain", ""),
        ("CC0 1.0", ""),
        ("CC BY 4.0", ""),
        ("CC-BY-4.0", ""),
        ("WordNet 3.0", ""),
        ("CC BY-NC 4.0", "no commercial use"),
        ("cc-by-nc-sa-4.0", "no commercial use"),
        ("CC BY-SA 4.0", "share-alike"),
        ("cc-by-sa-3.0", "share-alike"),
        ("GFDL 1.3", "share-alike"),
        ("LGPL-3.0", "share-alike"),
        ("CC BY-ND 4.0", "no derivatives"),
        ("unstated", "not known"),
        ("", "not known"),
        ("mitigated", "not known"),
        ("MIT, non-commercial", "no commercial use"),
    ],
)
def test_a_licence_that_is_not_known_to_be_free_is_an_obstacle(licence, kind):
    assert obstacle(licence) == kind


@pytest.mark.parametrize("name", ["../x", "senses", "a/../b", "a/b/c", "us/senses:x", "us/sen ses"])
def test_what_names_no_repository_is_refused(name, built, free):
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        fetch_dictionary(f"hub:{name}")
    with pytest.raises(ConfigError, match="OWNER/NAME"):
        push_dictionary(built.store, free, name)


@pytest.mark.parametrize(
    "stranger",
    ["weights.pkl", "dictionary.zarr/../../x", "/etc/passwd", "dictionary.zarr/rows/c/x", "a.py"],
)
def test_a_file_that_is_none_of_a_dictionary_is_refused_before_any_download(pushed, stranger):
    pushed.datasets["us/senses"][stranger] = b"x"
    with pytest.raises(DataError, match="is no file of a dictionary"):
        fetch_dictionary("hub:us/senses", hub=pushed.api)
    assert not any("/resolve/" in path for path in pushed.asked)


def test_files_of_the_hub_itself_are_no_strangers(pushed):
    pushed.datasets["us/senses"][".gitattributes"] = b"*.parquet filter=lfs"
    assert not (
        Path(fetch_dictionary("hub:us/senses", hub=pushed.api).uri) / ".gitattributes"
    ).exists()


def resealed(files: dict[str, bytes], **changes) -> None:
    """Put a record in the place of the one that is there, as somebody who knows the seal would."""
    record = json.loads(files["record.json"])
    record["files"] = {
        name: entry | {"bytes": len(files[name])} for name, entry in record["files"].items()
    }
    for name, entry in record["files"].items():
        entry["sha256"] = hashlib.sha256(files[name]).hexdigest()
    made = Record(**(record | changes)).sealed()
    files["record.json"] = json.dumps(dataclasses.asdict(made)).encode()


def damage_a_chunk(files):
    files["dictionary.zarr/rows/c/0/0"] = flipped(files["dictionary.zarr/rows/c/0/0"])


def damage_a_table(files):
    files["words.parquet"] = flipped(files["words.parquet"])


def alter_the_record(files):
    files["record.json"] = files["record.json"].replace(b'"words":', b'"wordz":', 1)


def no_record(files):
    del files["record.json"]


def a_record_of_nothing(files):
    files["record.json"] = b"[" * 100_000


def a_chunk_less(files):
    del files["dictionary.zarr/rows/c/0/0"]


def a_wide_array(files):
    """Rows that say they are a million million, in a record that agrees."""
    name = "dictionary.zarr/rows/zarr.json"
    said = json.loads(files[name])
    said["shape"] = [10**12, 32]
    files[name] = json.dumps(said).encode()
    resealed(files)


def packed_chunks(files):
    """An array in the codec of a bomb, in a record that agrees."""
    name = "dictionary.zarr/rows/zarr.json"
    said = json.loads(files[name])
    said["codecs"] = [said["codecs"][0], {"name": "zstd", "configuration": {"level": 0}}]
    files[name] = json.dumps(said).encode()
    resealed(files)


def rows_that_are_not_there(files):
    """Indices beyond the rows, checksums and all."""
    name = "dictionary.zarr/antonym_rows/c/0"
    values = np.frombuffer(files[name][:-4], dtype="<i4").copy()
    values[0] = 10**6
    body = values.tobytes()
    files[name] = body + google_crc32c.value(body).to_bytes(4, "little")
    resealed(files)


def another_stage(files):
    resealed(files, stage="teacher")


@pytest.mark.parametrize(
    "harm",
    [
        damage_a_chunk,
        damage_a_table,
        alter_the_record,
        no_record,
        a_record_of_nothing,
        a_chunk_less,
        a_wide_array,
        packed_chunks,
        rows_that_are_not_there,
        another_stage,
    ],
)
def test_a_dictionary_that_was_harmed_is_refused_and_nothing_is_kept(pushed, harm, tmp_path):
    harm(pushed.datasets["us/senses"])
    with pytest.raises((DataError, ArtifactError)):
        fetch_dictionary("hub:us/senses", hub=pushed.api)
    left = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == []


def test_a_damaged_dictionary_is_not_pushed(built, free, there, tmp_path):
    copied = tmp_path / "root"
    shutil.copytree(built.config.root_uri, copied)
    damaged = ArtifactStore(str(copied)).get("dictionary", free.fingerprint)
    table = Path(damaged.uri) / "words.parquet"
    digest = sha256_of_file(table)
    table.write_bytes(flipped(table.read_bytes()))
    assert sha256_of_file(table) != digest
    with pytest.raises(ArtifactError, match="is damaged"):
        push_dictionary(ArtifactStore(str(copied)), damaged, "us/senses", hub=there.api)
    assert not there.asked


def test_a_restricted_process_pushes_only_where_its_operator_says(built, free, monkeypatch):
    monkeypatch.setenv("DSKD_ROOTS", built.config.root_uri)
    with pytest.raises(ConfigError, match=r"'us/senses' is none.*DSKD_PUSH_TO"):
        push_dictionary(built.store, free, "us/senses")
