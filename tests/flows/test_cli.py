"""The command dskd, as far as it needs no server."""

import json
from pathlib import Path

import pytest
from pydantic import HttpUrl, TypeAdapter
from typer.testing import CliRunner

from dskd_core.errors import ConfigError
from dskd_core.store.artifacts import ArtifactStore, Work
from flows import cli, settings
from flows.cli import app

PARAMETERS = Path(__file__).parents[2] / "deployments/parameters"


@pytest.fixture
def invoke():
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


def test_a_refused_parameter_is_named_without_a_traceback(invoke, tmp_path):
    file = tmp_path / "p.yaml"
    file.write_text("senses: {n_senses: 0}\n")
    result = invoke("run", file)
    assert result.exit_code == 2
    assert "senses.n_senses=0" in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "asked",
    [("--memory", "nan"), ("--disk", "inf"), ("--memory", "-1"), ("--tokens", "9" * 30)],
)
def test_a_plan_is_asked_with_finite_numbers(invoke, asked):
    result = invoke("plan", PARAMETERS / "smollm2-135m.yaml", *asked)
    assert result.exit_code == 2
    assert f"'{asked[0]}'" in result.output


@pytest.mark.parametrize("setting", ["root_uri", "PREFECT_HOME"])
def test_a_place_that_takes_no_files_is_refused_before_anything_starts(
    invoke, tmp_path, monkeypatch, setting
):
    (tmp_path / "file").write_text("")
    places = {"root_uri": "artifacts", "PREFECT_HOME": "prefect"} | {setting: "file/x"}
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / places["PREFECT_HOME"]))
    monkeypatch.setattr(cli, "use_own_prefect", lambda: pytest.fail("started"))
    file = tmp_path / "p.yaml"
    file.write_text(f"root_uri: {tmp_path / places['root_uri']}\n")
    result = invoke("run", file)
    assert result.exit_code == 2
    assert (
        f"ConfigError: {setting} '{tmp_path}/file/x' takes no files: {tmp_path}/file is a file"
        in (result.output.replace("\n", " "))
    )


def test_settings_that_prefect_cannot_read_are_refused_without_their_values():
    with (
        pytest.raises(ConfigError, match=r"settings \(url URL scheme should be .*; corre") as e,
        cli._readable_settings(),
    ):
        TypeAdapter(dict[str, HttpUrl]).validate_python({"url": "bob:s3cret@"})
    assert "s3cret" not in str(e.value)
    with (
        pytest.raises(
            ConfigError, match=r"cannot read its settings \(line 3\); correct the PREFECT"
        ),
        cli._readable_settings(),
    ):
        raise ValueError("line 3")


def test_parameters_print_as_what_prefect_takes(invoke):
    result = invoke("parameters", PARAMETERS / "llama3-8b.yaml")
    assert json.loads(result.output)["config"]["senses"]["n_senses"] == 10


def test_a_word_cannot_be_looked_up_before_there_is_a_dictionary(invoke, tmp_path):
    pytest.importorskip("dskd_core.dictionary.description")
    result = invoke("inspect", "bank", "--root", tmp_path)
    assert result.exit_code == 2
    assert "run the stage first" in result.output


def test_nothing_is_exported_before_there_is_a_dictionary(invoke, tmp_path):
    result = invoke("explore", tmp_path, "--export", tmp_path / "pages")
    assert result.exit_code == 2
    assert "run the stage first" in result.output


def test_a_dictionary_that_is_not_there_is_not_explored(invoke, miniature):
    miniature.dictionary()
    root = miniature.config.root_uri
    for more in ([], ["--export", "pages"]):
        result = invoke("explore", root, "--dictionary", "zork", *more)
        assert result.exit_code == 2
        known = miniature.dictionary().fingerprint
        assert f"those there are {known}" in result.output.replace("\n", " ")


def test_a_dictionary_is_pushed_only_under_licences_that_let_everybody_have_it(
    invoke, miniature, monkeypatch
):
    miniature.dictionary()
    asked = []

    def push(store, dictionary, repository):
        asked.append(repository)
        return "c0ffee"

    result = invoke("push-dictionary", "us/senses", "--root", miniature.config.root_uri)
    assert result.exit_code == 2
    assert "unstated (not known) of word_pairs (pairs.csv)" in result.output.replace("\n", " ")
    monkeypatch.setattr("dskd_core.dictionary.hub.push_dictionary", push)
    result = invoke("push-dictionary", "us/senses", "--root", miniature.config.root_uri)
    assert 'load_dictionary("hub:us/senses@c0ffee")' in result.output
    assert asked == ["us/senses"]


def test_a_plan_is_printed_offline_and_refused_where_the_gpu_is_too_small(invoke, monkeypatch):
    def no_network(config):
        raise OSError("no network")

    monkeypatch.setattr("dskd_core.planning.architecture._fetch", no_network)
    result = invoke("plan", PARAMETERS / "llama3-8b.yaml", "--gpu", "H100-80GB")
    assert result.exit_code == 0
    assert "69,832" in result.output
    refused = invoke("plan", PARAMETERS / "llama3-8b.yaml", "--gpu", "L4-24GB")
    assert refused.exit_code == 2
    assert "CapacityError" in refused.output
    assert "lower embeddings.batch_tokens" in refused.output


def test_a_gpu_nobody_knows_is_refused_with_the_known_ones(invoke):
    result = invoke("plan", PARAMETERS / "llama3-8b.yaml", "--gpu", "TPU")
    assert result.exit_code == 2
    assert "A100-80GB" in result.output


@pytest.fixture
def published(tmp_path):
    work = Work("notes", {}, {})
    store = ArtifactStore(str(tmp_path))
    with store.publish(work) as draft:
        draft.write_json("note.json", {"a": 1})
    return Path(store.get("notes", work.fingerprint).uri)


def test_verify_exits_with_one_and_names_the_file_that_is_damaged(invoke, published):
    assert invoke("verify", published).exit_code == 0
    (published / "note.json").write_text("{}")
    result = invoke("verify", published)
    assert result.exit_code == 1
    assert "note.json" in result.output


def test_what_is_no_dictionary_cannot_be_compared(invoke, published):
    result = invoke("diff", published, published, "--json")
    assert result.exit_code == 2
    assert "give the folder of a dictionary" in result.output


@pytest.fixture
def started_with(tmp_path, monkeypatch):
    """Settle Prefect with these variables set; return what was begun for a temporary server."""
    begun = []
    for name in ("end_servers_with_this_process", "shield_from_terminal", "end_at_hang_up"):
        monkeypatch.setattr(settings, name, lambda name=name: begun.append(name))
    monkeypatch.setattr(settings, "end_orphaned_servers", lambda home: None)

    def settle(**variables):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(settings.os, "environ", variables)
        settings.use_own_prefect()
        return begun

    return settle


def test_prefect_gets_a_home_of_its_own_and_what_is_set_stays(tmp_path, started_with):
    assert "end_servers_with_this_process" in started_with(DO_NOT_TRACK="true")
    assert settings.os.environ["PREFECT_HOME"] == str(tmp_path / "work/prefect")
    assert (tmp_path / "work/prefect").is_dir()
    assert settings.os.environ["DO_NOT_TRACK"] == "true"
    assert "PREFECT_API_URL" not in settings.os.environ


def test_nothing_ends_the_server_that_the_environment_names(started_with):
    assert started_with(PREFECT_API_URL="http://127.0.0.1:9/api") == ["end_at_hang_up"]


def test_a_server_that_is_gone_is_not_used(tmp_path, started_with):
    (tmp_path / "work/serve").mkdir(parents=True)
    (tmp_path / "work/serve/api_url").write_text("http://127.0.0.1:9/api\n")
    started_with()
    assert "PREFECT_API_URL" not in settings.os.environ
