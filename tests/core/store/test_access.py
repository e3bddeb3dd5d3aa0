"""Places that settings may name, and those they may not."""

import json
import os

import pytest

from dskd_core.config import PipelineConfig, TaggedSourceConfig
from dskd_core.config.settings import Settings
from dskd_core.corpus.readers import source_files
from dskd_core.errors import ConfigError
from dskd_core.evaluation.word_senses.files import files_of
from dskd_core.lexicon.files import local_path
from dskd_core.store import places
from dskd_core.store.access import (
    check_readable,
    check_settings,
    check_source,
    check_writable,
    place_of,
)
from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.training.student.hub import push_student

OUTSIDE = "none of the places this worker may"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A worker's root with a file in it, beside a folder it may only read and one it may not."""
    for name in ("root", "shelf", "root-evil", "outside"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.txt").write_text("text " * 20)
    monkeypatch.chdir(tmp_path / "root")
    monkeypatch.setenv("HOME", str(tmp_path / "outside"))
    monkeypatch.setenv("DSKD_ROOTS", f"{tmp_path / 'root'}, s3://bucket/prefix")
    monkeypatch.setenv("DSKD_READ_ROOTS", f"{tmp_path / 'shelf'}\ns3://books")
    return tmp_path


def test_roots_may_be_read_and_written_and_shelves_read(home):
    for place in ("file.txt", str(home / "root"), "new/folder", "s3://bucket/prefix/x", "./a/../b"):
        check_readable(place)
        check_writable(place)
    for place in (str(home / "shelf/file.txt"), "../shelf", "s3://books", "s3://books/a b/c=1"):
        check_readable(place)
        with pytest.raises(ConfigError, match=f"{OUTSIDE} write"):
            check_writable(place)


@pytest.mark.parametrize(
    "place",
    [
        "/etc/passwd",
        "../outside/file.txt",
        "a/../../outside",
        "../root-evil/file.txt",
        "~",
        "~/file.txt",
        "~root/x",
        "/",
        "..",
        "s3://bucket",
        "s3://bucket/prefix-evil",
        "s3://bucket-evil/prefix",
        "s3://other/prefix",
    ],
)
def test_other_places_are_refused_with_the_value_and_the_cure(home, place):
    for check in (check_readable, check_writable):
        with pytest.raises(ConfigError, match=f"{OUTSIDE} .*operator add it to DSKD_ROOTS") as told:
            check(place, "corpus.source")
        assert str(told.value).startswith(f"corpus.source {place!r}")


@pytest.mark.parametrize(
    "place",
    [
        "file:///etc/passwd",
        "file:/etc/passwd",
        "FILE:///etc",
        "http://host/x",
        "ftp://host/x",
        "gs://bucket/prefix",
        "memory://x",
        "S3://bucket/prefix",
        "simplecache::s3://bucket/prefix",
        "a::b",
        "s3://bucket/prefix::file:///etc",
        "work/![x](http://host/b.png)",
        "C:\\windows",
        "\\\\host\\share",
        "",
        "a\0b",
        "a\nb",
        "s3://",
        "s3:///prefix",
        "s3://bucket/prefix/../x",
        "s3://bucket/prefix/./x",
        "s3://bucket/prefix//x",
        "s3://bucket/prefix/%2e%2e/x",
        "s3://bucket/prefix/x..",
        "s3://bucket/prefix/x.",
        "s3://bucket/prefix/*",
        "s3://bucket/prefix/x?versionId=1",
        "s3://bucket/prefix\\..\\x",
        "s3://bucket./prefix",
        "s3://..",
        "s3://bucket/prefix/a\0",
    ],
)
def test_what_no_setting_may_name_is_refused_without_roots_too(home, monkeypatch, place):
    with pytest.raises(ConfigError):
        check_readable(place)
    monkeypatch.delenv("DSKD_ROOTS")
    monkeypatch.delenv("DSKD_READ_ROOTS")
    with pytest.raises(ConfigError):
        check_readable(place)
    with pytest.raises(ConfigError):
        places.filesystem(place)


def test_links_are_judged_by_where_they_lead(home):
    (home / "root/link").symlink_to(home / "outside")
    (home / "root/inner").symlink_to(home / "root/file.txt")
    check_readable("inner")
    for place in ("link", "link/file.txt", "link/new"):
        with pytest.raises(ConfigError, match=r"leads to .*outside"):
            check_readable(place)


def test_a_loop_of_links_and_an_unknown_user_are_refused(home):
    (home / "root/a").symlink_to("b")
    (home / "root/b").symlink_to("a")
    for place in ("a", "~nobody-of-that-name/x"):
        with pytest.raises(ConfigError, match="leads nowhere"):
            check_readable(place)


def test_an_empty_list_allows_nothing_and_no_list_allows_all(home, monkeypatch):
    monkeypatch.delenv("DSKD_READ_ROOTS")
    monkeypatch.setenv("DSKD_ROOTS", "")
    with pytest.raises(ConfigError, match="there are none"):
        check_readable("file.txt")
    monkeypatch.delenv("DSKD_ROOTS")
    assert check_writable("/etc") == os.path.realpath("/etc")


def test_credentials_in_a_place_are_refused_and_not_repeated(monkeypatch):
    for place in ("s3://AKIAEXAMPLE:wJalrXUtnFEMI@host/bucket", "https://me:wJalrXUtnFEMI@hub/x"):
        with pytest.raises(ConfigError, match=r"carries credentials.*in the environment") as told:
            check_settings(PipelineConfig.model_construct(root_uri=place))
        assert "wJalrXUtnFEMI" not in str(told.value)
        assert "AKIA" not in str(told.value)


@pytest.mark.parametrize("source", ["sample:roget", "owner/model", "gpt2", "hf:owner/data@v1.0"])
def test_names_are_no_places(home, monkeypatch, source):
    monkeypatch.setenv("DSKD_ROOTS", "s3://bucket")
    check_source(source)


def test_a_name_that_is_a_path_here_is_one(home, monkeypatch):
    (home / "root/owner").mkdir()
    (home / "root/owner/model").symlink_to(home / "outside")
    with pytest.raises(ConfigError, match=OUTSIDE):
        check_source("owner/model")
    check_source("hf:owner/model")  # the hub's, whatever is here


@pytest.mark.parametrize("source", ["hf:/etc", "hf:../x", "hf:a/b/c", "hf:", "hf:a@../x", "hf:a b"])
def test_a_dataset_name_that_could_be_a_path_is_refused(source):
    with pytest.raises(ConfigError, match="names no dataset of the hub"):
        check_source(source)


def settings_that_read(place: str) -> dict[str, dict]:
    return {
        "root_uri": {"root_uri": place},
        "teacher.source": {"teacher": {"source": place}},
        "corpus.source": {"corpus": {"source": place}},
        "prompts.sources[0].uri": {"prompts": {"sources": [{"task": "squad", "uri": place}]}},
        "prompts.sources[0].labels_uri": {
            "prompts": {"sources": [{"task": "piqa", "uri": "hf:a", "labels_uri": place}]}
        },
        "lexicon.sources[0].uri": {"lexicon": {"sources": [{"kind": "moby", "uri": place}]}},
        "lexicon.morphology[0].uri": {"lexicon": {"morphology": [{"kind": "x", "uri": place}]}},
        "relations.reference.uri": {"relations": {"reference": {"kind": "wordnet", "uri": place}}},
        "evaluation.benchmarks[0].uri": {
            "evaluation": {"benchmarks": [{"task": "arc", "uri": place}]}
        },
        "evaluation.benchmarks[0].exemplars_uri": {
            "evaluation": {"benchmarks": [{"task": "arc", "uri": "hf:a", "exemplars_uri": place}]}
        },
        "evaluation.tagged[0].uri": {"evaluation": {"tagged": [{"kind": "wic", "uri": place}]}},
    }


@pytest.mark.parametrize("name", settings_that_read(""))
def test_every_setting_that_names_a_place_is_checked_before_work_starts(home, name):
    config = PipelineConfig.model_validate(settings_that_read("../outside")[name])
    with pytest.raises(ConfigError, match=OUTSIDE) as told:
        check_settings(config)
    assert str(told.value).startswith(name)
    check_settings(PipelineConfig.model_validate(settings_that_read("file.txt")[name]))


def test_no_setting_whose_help_speaks_of_a_file_escapes_the_check():
    """A new field has to be named source, uri or *_uri, or be told here to read nothing."""
    reads_nothing = {"revision", "format", "text_field", "id_field", "commercial", "licence"}
    reads_nothing |= {"made_on", "kind", "shard_bytes", "sources", "task", "name"}
    seen, waiting, escaped = set(), [Settings], []
    while waiting:
        for model in waiting.pop().__subclasses__():
            waiting.append(model)
            seen.add(model.__name__)
            for name, field in model.model_fields.items():
                words = (field.description or "").lower()
                checked = name in {"source", "uri", "root_uri"} or name.endswith("_uri")
                speaks = "file" in words or "folder" in words or "path" in words
                if speaks and "str" in str(field.annotation) and not checked:
                    escaped.append(f"{model.__name__}.{name}")
    assert {"TeacherConfig", "SourceConfig", "BenchmarkConfig", "PipelineConfig"} <= seen
    assert [name for name in escaped if name.partition(".")[2] not in reads_nothing] == []


def test_code_and_pushes_need_the_operators_word(home, monkeypatch):
    trusting = PipelineConfig.model_validate(
        {"teacher": {"source": "owner/model", "trust_remote_code": True}}
    )
    pushing = PipelineConfig.model_validate({"training": {"hub_repository": "us/small"}})
    with pytest.raises(ConfigError, match=r"would run code of 'owner/model'.*DSKD_REMOTE_CODE"):
        check_settings(trusting)
    with pytest.raises(ConfigError, match=r"'us/small' is none.*DSKD_PUSH_TO"):
        check_settings(pushing)
    with pytest.raises(ConfigError, match="DSKD_PUSH_TO"):
        push_student(None, None, "us/small")
    monkeypatch.setenv("DSKD_REMOTE_CODE", "other/model,owner/model")
    monkeypatch.setenv("DSKD_PUSH_TO", "us/small")
    check_settings(trusting)
    check_settings(pushing)


@pytest.mark.parametrize("revision", ["../../x", "/etc", "a b", ""])
def test_a_revision_that_could_climb_is_refused(revision):
    config = PipelineConfig.model_validate({"teacher": {"source": "a/b", "revision": revision}})
    with pytest.raises(ConfigError, match=r"teacher\.revision"):
        check_settings(config)


def test_a_link_in_a_folder_of_sources_is_refused_where_it_is_opened(home):
    folder = home / "root/corpus"
    folder.mkdir()
    (folder / "a.txt").write_text("fine")
    assert list(source_files(str(folder))) == ["a.txt"]
    (folder / "b.txt").symlink_to(home / "outside/file.txt")
    with pytest.raises(ConfigError, match=OUTSIDE):
        source_files(str(folder))
    with pytest.raises(ConfigError, match=OUTSIDE):
        local_path(str(folder / "b.txt"))
    with pytest.raises(ConfigError, match=OUTSIDE):
        local_path(str(folder), ("a.txt", "b.txt"))


@pytest.mark.parametrize("named", ["folder", "file"])
def test_labels_that_are_a_link_are_refused_however_their_source_is_named(home, named):
    folder = home / "root/WiC"
    folder.mkdir()
    (folder / "test.data.txt").write_text("bank\tN\t0-0\tbank\tbank\n")
    uri = str(folder if named == "folder" else folder / "test.data.txt")
    (folder / "test.gold.txt").write_text("T\n")
    source = TaggedSourceConfig(kind="wic", uri=uri)
    assert list(files_of(source)) == ["test.data.txt"]
    (folder / "test.gold.txt").unlink()
    (folder / "test.gold.txt").symlink_to(home / "outside/file.txt")
    with pytest.raises(ConfigError, match=OUTSIDE):
        files_of(source)


def test_a_root_elsewhere_is_refused_before_anything_is_written(home):
    with pytest.raises(ConfigError, match="root_uri"):
        ArtifactStore(str(home / "outside/artifacts"))
    (home / "root/way-out").symlink_to(home / "outside")
    with pytest.raises(ConfigError, match="root_uri"):
        ArtifactStore("way-out/artifacts")
    assert sorted(p.name for p in (home / "outside").iterdir()) == ["file.txt"]


WORK = Work("senses", {"k": 5}, {})


def test_an_artifact_whose_folder_is_a_link_elsewhere_is_refused(home):
    store = ArtifactStore("artifacts")
    with store.publish(WORK) as draft:
        draft.write_json("x.json", 1)
    real = home / "root/artifacts/senses" / WORK.fingerprint
    real.rename(home / "outside/senses")
    real.symlink_to(home / "outside/senses")
    with pytest.raises(ConfigError, match=OUTSIDE):
        store.find(WORK)


@pytest.mark.parametrize("name", ["../../../outside/file.txt", "/etc/passwd", "a/../../b", ".x"])
def test_names_of_files_in_a_record_cannot_climb(home, name):
    store = ArtifactStore("artifacts")
    with store.publish(WORK) as draft:
        draft.write_json("x.json", 1)
    record = home / "root/artifacts/senses" / WORK.fingerprint / "record.json"
    values = json.loads(record.read_text())
    values["files"][name] = values["files"]["x.json"]
    record.write_text(json.dumps(values | {"seal": ""}))
    with pytest.raises(ConfigError, match="is not a plain name"):
        store.find(WORK)


@pytest.mark.parametrize("name", ["../../../outside", "/etc", "..", 7, None])
def test_names_of_parts_in_a_record_cannot_climb(home, name):
    with pytest.raises(ConfigError, match="is not a plain name"):
        ArtifactStore("artifacts").get("embeddings-shard", name)


def test_a_copy_of_a_remote_artifact_stays_in_the_cache(home, monkeypatch):
    monkeypatch.setattr(places, "filesystem", lambda uri: pytest.fail("asked the object store"))
    with pytest.raises(ConfigError, match="is not a plain name"):
        places.local_copy("s3://bucket/prefix/senses/x", home / "cache", ["../../evil"])
    assert not (home / "cache").exists()


def test_a_place_is_written_in_one_form():
    assert place_of("s3://bucket/a/") == "s3://bucket/a"
    assert place_of(".") == os.path.realpath(".")
