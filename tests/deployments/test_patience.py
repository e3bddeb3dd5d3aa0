"""Whoever talks to a server of ours bears its absence for as long, wherever it was started."""

import runpy
from pathlib import Path

import yaml

from flows.settings import PATIENCE

ROOT = Path(__file__).parents[2]


def test_the_workers_of_compose_kubernetes_and_make_serve_are_as_patient_as_a_run_by_hand():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    compose = [services[name]["environment"] for name in ("worker-cpu", "worker-gpu")]
    pods = yaml.safe_load_all((ROOT / "infra/kubernetes/worker.yaml").read_text())
    [worker] = [pod for pod in pods if pod["kind"] == "Deployment"]
    [container] = worker["spec"]["template"]["spec"]["containers"]
    pod = {entry["name"]: entry.get("value") for entry in container["env"]}
    serve = runpy.run_path(str(ROOT / "infra/serve.py"))["environment"]()
    for environment in (*compose, pod, serve):
        assert PATIENCE.items() <= environment.items()


def test_prefect_reads_it_as_meant(monkeypatch):
    from prefect.settings import Settings

    for name, value in PATIENCE.items():
        monkeypatch.setenv(name, value)
    client = Settings().client
    assert client.max_retries == 7
    assert client.retry_extra_codes == {500, 504}
    # What a worker hands on to the environment of its runs.
    for name, value in client.to_environment_variables(exclude_unset=True).items():
        monkeypatch.setenv(name, value)
    assert Settings().client.retry_extra_codes == {500, 504}
