"""The base job template of the Kubernetes work pools: every placeholder has a variable."""

import json
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.utilities.templating import apply_values

FOLDER = Path(__file__).parents[2] / "infra/kubernetes"
TEMPLATE = json.loads((FOLDER / "base-job-template.json").read_text())
VARIABLES = TEMPLATE["variables"]["properties"]
DEFAULTS = {name: v["default"] for name, v in VARIABLES.items() if v.get("default") is not None}


def rendered(**values) -> dict:
    """Fill the template in as Prefect does: job variables over defaults."""
    return apply_values(TEMPLATE["job_configuration"], DEFAULTS | values)


def pod_of(**values) -> dict:
    return rendered(**values)["job_manifest"]["spec"]["template"]["spec"]


def test_every_placeholder_is_a_variable_and_every_variable_is_used():
    text = json.dumps(TEMPLATE["job_configuration"])
    assert set(re.findall(r"{{\s*(\w+)\s*}}", text)) == set(VARIABLES)


def test_the_variables_are_a_schema_whose_defaults_satisfy_it():
    Draft202012Validator.check_schema(TEMPLATE["variables"])
    Draft202012Validator(TEMPLATE["variables"]).validate(DEFAULTS)
    assert all(variable["description"].endswith(".") for variable in VARIABLES.values())


def test_what_prefect_kubernetes_demands_of_a_manifest_is_there():
    spec = pod_of()
    assert (spec["parallelism"], spec["completions"], spec["restartPolicy"]) == (1, 1, "Never")
    [container] = spec["containers"]
    assert container["name"] == "prefect-job"
    assert rendered()["job_manifest"]["kind"] == "Job"


@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_gpus_are_a_limit_and_stay_a_number(gpus):
    assert pod_of(gpus=gpus)["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == gpus


def test_a_run_is_sent_to_the_nodes_that_were_asked_for():
    pod = pod_of(node_selector={"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
    assert pod["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    assert pod_of()["nodeSelector"] == {}


def test_a_pod_is_nobody_special_and_its_secrets_come_from_a_secret():
    pod = pod_of(secret_name="credentials")
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["runAsUser"] == 10001
    assert not container["securityContext"]["allowPrivilegeEscalation"]
    assert container["envFrom"] == [{"secretRef": {"name": "credentials"}}]
    assert "SECRET_ACCESS_KEY" not in json.dumps(TEMPLATE["job_configuration"])


def test_a_pod_has_time_to_save_its_step_before_it_is_killed():
    assert pod_of()["terminationGracePeriodSeconds"] == 120
    assert pod_of()["volumes"][1]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    mounts = {m["name"]: m["mountPath"] for m in pod_of()["containers"][0]["volumeMounts"]}
    assert mounts == {"data": "/data", "shared-memory": "/dev/shm"}


@pytest.fixture(scope="module")
def objects() -> dict[str, dict]:
    return {o["kind"]: o for o in yaml.safe_load_all((FOLDER / "worker.yaml").read_text())}


def test_the_worker_has_the_rights_it_needs_in_its_own_namespace_and_no_others(objects):
    assert {o["metadata"]["namespace"] for o in objects.values()} == {"dskd"}
    assert "ClusterRole" not in objects
    rights = {r: set(rule["verbs"]) for rule in objects["Role"]["rules"] for r in rule["resources"]}
    assert set(rights) == {"jobs", "pods", "pods/log", "pods/status", "events"}
    assert not any("create" in verbs for name, verbs in rights.items() if name != "jobs")
    [subject] = objects["RoleBinding"]["subjects"]
    assert subject["name"] == objects["ServiceAccount"]["metadata"]["name"]
    assert objects["RoleBinding"]["roleRef"]["name"] == objects["Role"]["metadata"]["name"]


def test_the_worker_is_pinned_and_knows_the_password_by_reference_only(objects):
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]
    assert pod["securityContext"]["runAsNonRoot"]
    [worker] = pod["containers"]
    assert re.search(r":\d+\.\d+\.\d+-", worker["image"])
    variables = {v["name"]: v for v in worker["env"]}
    assert "value" not in variables["PREFECT_API_AUTH_STRING"]
    reference = variables["PREFECT_API_AUTH_STRING"]["valueFrom"]["secretKeyRef"]
    prefix = "PREFECT_INTEGRATIONS_KUBERNETES_WORKER_API_AUTH_STRING_SECRET"
    assert variables[f"{prefix}_NAME"]["value"] == reference["name"]
    assert variables[f"{prefix}_KEY"]["value"] == reference["key"]


def test_the_volume_the_worker_file_makes_is_the_one_runs_mount(objects):
    claim = objects["PersistentVolumeClaim"]["metadata"]["name"]
    assert VARIABLES["data_claim"]["default"] == claim == "dskd-data"
