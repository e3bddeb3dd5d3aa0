"""What a worker's parameters may name holds artifacts and data only, wherever it was started."""

import json
import re
import runpy
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from prefect.client.orchestration import get_client

from dskd_core.errors import ConfigError
from dskd_core.store.access import check_readable
from tests.served import awaited

ROOT = Path(__file__).parents[2]
REFUSED = "no setting may name it"


@pytest.fixture
def serve(tmp_path, monkeypatch) -> SimpleNamespace:
    """What ``infra/serve.py`` is made of, for a work folder of its own."""
    for name in ("DSKD_ROOTS", "DSKD_READ_ROOTS", "DSKD_PRIVATE", "DSKD_PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DSKD_WORK", str(tmp_path / "work"))
    return SimpleNamespace(**runpy.run_path(str(ROOT / "infra/serve.py")))


@pytest.fixture
def worker(serve, monkeypatch) -> None:
    """Make this process one that ``make serve`` starts."""
    for name, value in serve.environment().items():
        monkeypatch.setenv(name, value)


def database(folder: Path) -> Path:
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "prefect.db")
    connection.execute("CREATE TABLE configuration (value TEXT)")
    connection.commit()
    connection.close()
    return folder / "prefect.db"


def test_the_home_of_make_serve_lies_in_no_root_of_its_workers(serve, tmp_path):
    variables = serve.environment()
    home = Path(variables["PREFECT_HOME"])
    roots = f"{variables['DSKD_ROOTS']},{variables['DSKD_READ_ROOTS']}".split(",")
    assert home == tmp_path / "work-prefect"
    assert roots == [str(tmp_path / "work"), str(ROOT / "data"), str(ROOT / "models")]
    assert not [root for root in roots if home.is_relative_to(root)]
    assert not [root for root in roots if Path(root).is_relative_to(home)]


@pytest.mark.usefixtures("worker")
def test_workers_of_make_serve_read_artifacts_and_data_and_no_state_of_the_server(tmp_path):
    old = database(tmp_path / "work/prefect")
    new = database(tmp_path / "work-prefect")
    for place in ("work/artifacts", "work/mine/corpus", str(ROOT / "data/articles.jsonl")):
        check_readable(str(tmp_path / place))
    state = [old, old.parent, tmp_path / "work/serve/server.log", tmp_path / "work/logs/run-1.log"]
    (tmp_path / "work/corpus.txt").symlink_to(old)
    for place in (*state, tmp_path / "work/corpus.txt"):
        with pytest.raises(ConfigError, match=REFUSED):
            check_readable(str(place))
    for place in (new, ROOT / ".env", ROOT / "infra/serve.py", ROOT / ".git/config"):
        with pytest.raises(ConfigError, match="none of the places this worker may read"):
            check_readable(str(place))


def test_a_home_of_before_is_moved_out_of_the_root_with_its_history(serve, tmp_path, capsys):
    old = database(tmp_path / "work/prefect")
    serve.take_out_old_home()
    assert not old.parent.exists()
    assert (tmp_path / "work-prefect/prefect.db").exists()
    assert "was moved, out of the workers' roots" in capsys.readouterr().out
    database(tmp_path / "work/prefect")  # of a run by hand, since then
    serve.take_out_old_home()
    assert old.exists()
    assert capsys.readouterr().out == ""


def test_a_home_that_is_in_use_is_not_moved_away_under_its_server(serve, tmp_path):
    old = database(tmp_path / "work/prefect")
    with old.open("rb"), pytest.raises(SystemExit, match=r"process \d+ uses it; end that run"):
        serve.take_out_old_home()
    assert old.exists()
    serve.take_out_old_home()
    assert not old.exists()


def roots_of(variables: dict[str, str]) -> list[str]:
    return [root for root in variables["DSKD_ROOTS"].split(",") if root.startswith("/")]


def test_workers_of_compose_keep_homes_on_other_volumes_than_data():
    composed = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = composed["services"]
    servers = {v.partition(":")[0] for n in ("prefect", "postgres") for v in services[n]["volumes"]}
    for name in ("worker-cpu", "worker-gpu"):
        variables = services[name]["environment"]
        mounts = dict(v.split(":") for v in services[name]["volumes"])
        assert roots_of(variables) == ["/data"] == [mounts["data"]]
        for home in ("PREFECT_HOME", "HF_HOME"):
            assert not variables[home].startswith("/data")
        assert variables["HF_HOME"].startswith(mounts["cache"] + "/")
        assert not servers & mounts.keys()
        assert mounts.keys() <= composed["volumes"].keys()


@pytest.mark.parametrize("image", ["cpu", "gpu"])
def test_the_images_have_a_folder_for_what_is_no_data(image):
    lines = (ROOT / f"infra/images/{image}.Dockerfile").read_text()
    assert re.search(r"\bHF_HOME=/cache/huggingface\s", lines)
    assert "VOLUME /data /cache\n" in lines
    assert re.search(r"install -d -o dskd .* /cache\n", lines)
    assert {".env", "work", "work-prefect"} <= set((ROOT / ".dockerignore").read_text().split())


def test_pods_of_runs_see_their_data_apart_from_their_cache_and_no_token_of_the_cluster():
    template = json.loads((ROOT / "infra/kubernetes/base-job-template.json").read_text())
    pod = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    mounts = {m["mountPath"]: m.get("subPath") for m in pod["containers"][0]["volumeMounts"]}
    assert mounts == {"/cache": "cache", "/data": "data", "/dev/shm": None}
    assert pod["automountServiceAccountToken"] is False


@pytest.mark.slow
@pytest.mark.xdist_group("prefect")
def test_a_run_that_names_the_servers_database_as_its_corpus_is_refused(prefect_server):
    home = prefect_server.work.with_name(f"{prefect_server.work.name}-prefect")
    assert (home / "prefect.db").exists()
    assert not (prefect_server.work / "prefect").exists()
    link = prefect_server.work / "corpus.txt"
    link.symlink_to(prefect_server.work / "serve/server.log")
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("dskd/rebuild-lexicon")
        for source in (home / "prefect.db", link):
            config = deployment.parameters["config"] | {
                "root_uri": str(prefect_server.work / "artifacts"),
                "corpus": {"source": str(source), "format": "text"},
            }
            run = client.create_flow_run_from_deployment(
                deployment.id, parameters={"config": config}
            )
            state = awaited(
                lambda run=run: (s := client.read_flow_run(run.id).state).is_final() and s,
                seconds=120,
            )
            assert state.is_failed()
            assert re.search(rf"{REFUSED}|none of the places this worker may read", state.message)
