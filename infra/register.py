"""Tell the server at PREFECT_API_URL of pools, limits, automations and deployments.

``python infra/register.py`` from the root of the clone; ``make serve`` and the ``register`` service
of docker-compose.yml do so. Doing it twice leaves one of each. What a person changed by hand stays:
work pools that exist are left alone, and automations keep being on or off. With ``--limit-pools``,
as ``make serve`` calls it, a pool without a limit of its own gets that of its one worker.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.events.schemas.automations import AutomationCore
from prefect.types import SecretDict
from serve import POOLS

from dskd_core.config.form import only

ROOT = Path(__file__).resolve().parents[1]
GPU_SLOTS = int(os.environ.get("DSKD_GPU_SLOTS", "1"))
"""Tasks that may use a GPU at once, over all machines."""

NOTIFY_URL = os.environ.get("DSKD_NOTIFY_URL", "")
NOBODY = "https://nobody.invalid/"
OURS = FlowFilter(name=FlowFilterName(any_=["dskd"]))


def make_pools(client: SyncPrefectClient) -> None:
    """Create the work pools that are missing, for workers that start processes."""
    known = {pool.name for pool in client.read_work_pools()}
    for name in POOLS:
        if name not in known:
            client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        print(f"work pool {name}: {'stands' if name in known else 'made'}")


def limit_pools(client: SyncPrefectClient) -> None:
    """Let a pool that has no limit hand out as many runs at once as its worker is to take.

    A worker's own limit (``--limit``) would do the same, but Prefect 3.8 ends a limited worker
    that is handed a run again before it has put its last try away, as after a quick *Retry*.
    """
    told = {"dskd-gpu"} if "DSKD_GPU_SLOTS" in os.environ else set()
    for pool in client.read_work_pools():
        if pool.name in POOLS and (pool.concurrency_limit is None or pool.name in told):
            limit = WorkPoolUpdate(concurrency_limit=POOLS[pool.name])
            client.update_work_pool(pool.name, limit)
            print(f"work pool {pool.name}: {POOLS[pool.name]} runs at once")


def limit_gpus(client: SyncPrefectClient) -> None:
    """Let as many tasks use a GPU at once as there are."""
    client.upsert_global_concurrency_limit_by_name("dskd-gpu", GPU_SLOTS)
    print(f"concurrency limit dskd-gpu: {GPU_SLOTS}")


def notification_block() -> str:
    """Return the id of the block that notifications go through, made if missing.

    The address is a secret: whoever knows a webhook may write to it.
    """
    name = "dskd-notifications"
    if not NOTIFY_URL:
        try:
            return str(CustomWebhookNotificationBlock.load(name)._block_document_id)
        except ValueError:  # no such block yet
            pass
    block = CustomWebhookNotificationBlock(
        name="dskd",
        url="{{ address }}",
        json_data={"text": "{{ subject }}\n{{ body }}"},
        secrets=SecretDict({"address": NOTIFY_URL or NOBODY}),
    )
    return str(block.save(name, overwrite=True))


def install_automations(client: SyncPrefectClient) -> None:
    """Create the automations of infra/automations.yaml, or bring them up to date, by name."""
    known = {automation.name: automation for automation in client.read_automations()}
    file = ROOT / "infra/automations.yaml"
    for values in yaml.safe_load(file.read_text("utf-8"))["automations"]:
        wanted = AutomationCore.model_validate(with_block(values))
        if standing := known.get(wanted.name):
            wanted.enabled = standing.enabled or (sends(values) and bool(NOTIFY_URL))
            # An update would forget which runs it is watching.
            if wanted != AutomationCore.model_validate(standing.model_dump()):
                client.update_automation(standing.id, wanted)
        else:
            client.create_automation(wanted)
        print(f"automation {wanted.name!r}: {'on' if wanted.enabled else 'off'}")


def sends(automation: dict[str, Any]) -> bool:
    """Say whether an automation of the file sends notifications."""
    return any("block" in action for action in automation["actions"])


def with_block(automation: dict[str, Any]) -> dict[str, Any]:
    """Return an automation with the block's id in place of its name; on if it has an address."""
    if not sends(automation):
        return automation
    identity = {"block_document_id": notification_block()}
    actions = [
        {name: value for name, value in action.items() if name != "block"} | identity
        for action in automation["actions"]
    ]
    return automation | {"actions": actions, "enabled": bool(NOTIFY_URL)}


def close_forms(client: SyncPrefectClient) -> None:
    """Have the server refuse a run with a parameter that its flow has not.

    Prefect's own form takes any, keeps what it holds, and the run fails when it begins. The
    refusal repeats neither the name nor the value.
    """
    for deployment in client.read_deployments(flow_filter=OURS):
        form = deployment.parameter_openapi_schema or {}
        names = list(form.get("properties", {}))
        closed = form | {"propertyNames": only("parameter", names)}
        client.update_deployment(deployment.id, DeploymentUpdate(parameter_openapi_schema=closed))
    print("forms: closed")


def deploy() -> None:
    """Register every deployment with its schedules and triggers.

    Raises:
        SystemExit: if Prefect refuses one; what it said is shown.
    """
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", "deployments/prefect.yaml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"prefect deploy failed:\n{done.stdout}\n{done.stderr}")
    print("deployments: registered")


def main() -> None:
    """Register everything."""
    with get_client(sync_client=True) as client:
        make_pools(client)
        if "--limit-pools" in sys.argv[1:]:
            limit_pools(client)
        limit_gpus(client)
        install_automations(client)
        deploy()
        close_forms(client)


if __name__ == "__main__":
    main()
