"""Start and stop a Prefect server with its workers, automations and deployments on this machine.

``python infra/serve.py start|stop|status``, from the root of the clone; ``make serve`` and
``make stop`` do so. Starting twice is harmless. Every process is remembered in ``work/serve`` with
its start time, so stopping never ends another program that was given the same number since.

Parameters may name what is in ``work``, ``data`` and ``models``, so Prefect's home, whose database
holds the key of every secret block, lies beside ``work`` and not in it.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil

HOME = Path(__file__).resolve().parents[1]
WORK = Path(os.environ.get("DSKD_WORK", HOME / "work"))
STATE = WORK / "serve"
PREFECT = Path(
    os.environ.get("DSKD_PREFECT_HOME", WORK.absolute().with_name(f"{WORK.name}-prefect"))
).absolute()
"""The PREFECT_HOME of the server and its workers: in no root of theirs."""

OLD_PREFECT = WORK / "prefect"
"""Where it was before, and where that of a run by hand is."""

PORT = int(os.environ.get("DSKD_PORT", "4200"))
URL = f"http://127.0.0.1:{PORT}/api"
POOLS = {"dskd-cpu": 2, "dskd-gpu": int(os.environ.get("DSKD_GPU_SLOTS", "1"))}
"""Work pool -> runs of it at once; one GPU runs one flow."""

PLACES = {"DSKD_ROOTS": str(WORK), "DSKD_READ_ROOTS": f"{HOME / 'data'},{HOME / 'models'}"}
"""Where parameters may make a worker write, and read, unless the environment says otherwise."""

PRIVATE = ",".join(str(p.absolute()) for p in (PREFECT, OLD_PREFECT, STATE, WORK / "logs"))
"""What they may not name in any root: Prefect's homes; process ids and logs."""

LEASES = "prefect.server.concurrency.lease_storage.filesystem"
"""Where the server remembers who holds a slot of a limit: in its PREFECT_HOME."""

START_SECONDS = float(os.environ.get("DSKD_START_SECONDS", "240"))
STOP_SECONDS = float(os.environ.get("DSKD_STOP_SECONDS", "15"))


def environment() -> dict[str, str]:
    """Return the environment of everything started here."""
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING", "")
    ours = {"PREFECT_API_AUTH_STRING": password} if password else {}
    if not PLACES.keys() & os.environ.keys():
        ours |= PLACES
    theirs = os.environ.get("DSKD_PRIVATE", "")
    ours |= {
        "DSKD_HOME": str(HOME),
        "DSKD_PRIVATE": f"{PRIVATE},{theirs}".rstrip(","),
        "PREFECT_API_URL": URL,
        "PREFECT_HOME": str(PREFECT),
        # In memory, as Prefect keeps them by default, a server that is killed forgets who holds a
        # GPU, and the slot is never given back: runs would wait for it for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        # Whoever waits for a GPU asks again after about as long as it was held, this at most.
        "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
        # A server that is away for up to four minutes is asked again, where Prefect gives up after
        # one; so is one that answers 500, as it does while it has no database.
        "PREFECT_CLIENT_MAX_RETRIES": "7",
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_UI_API_URL": URL,
        "DO_NOT_TRACK": "1",
        "PYTHONUNBUFFERED": "1",
    }
    return os.environ | ours


def prefect(*arguments: str) -> list[str]:
    """Return a Prefect command line of this very environment."""
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def running(name: str) -> psutil.Process | None:
    """Return the live process remembered as ``name``, if it is still the same one."""
    try:
        memory = json.loads((STATE / f"{name}.json").read_text("utf-8"))
        process = psutil.Process(memory["pid"])
        same = abs(process.create_time() - memory["created"]) < 1.0
        alive = process.status() != psutil.STATUS_ZOMBIE
    except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
        return None
    return process if same and alive else None


def launch(name: str, command: list[str]) -> None:
    """Start a process in a session of its own and remember it; do nothing if it runs."""
    if running(name):
        print(f"{name} is running")
        return
    with (STATE / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            command,
            cwd=HOME,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    memory = {"pid": child.pid, "created": psutil.Process(child.pid).create_time()}
    (STATE / f"{name}.json").write_text(json.dumps(memory), "utf-8")
    print(f"{name} started, log in {STATE / f'{name}.log'}")


def is_healthy() -> bool:
    """Say whether the server answers."""
    try:
        with urllib.request.urlopen(f"{URL}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def start() -> None:
    """Start what does not run yet, and register what the server should know.

    Raises:
        SystemExit: if another program has the port, or the server does not come up.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    take_out_old_home()
    PREFECT.mkdir(parents=True, exist_ok=True)
    PREFECT.chmod(0o700)
    if is_healthy() and not running("server"):
        sys.exit(f"Port {PORT} has another Prefect server; stop it or set DSKD_PORT.")
    launch("server", prefect("server", "start", "--host", "127.0.0.1", "--port", str(PORT)))
    await_health()
    register()
    for pool in POOLS:
        worker = ("worker", "start", "--pool", pool, "--name", f"{pool}-here")
        launch(f"worker-{pool}", prefect(*worker))
    (STATE / "api_url").write_text(URL + "\n", "utf-8")
    print(f"\nPrefect UI: http://127.0.0.1:{PORT}")
    print(f"From another terminal: PREFECT_API_URL={URL} prefect deployment run dskd/train")


def take_out_old_home() -> None:
    """Move Prefect's home, with the history of runs, from ``work`` to beside it, once.

    Raises:
        SystemExit: if a server of that home runs.
    """
    database = OLD_PREFECT / "prefect.db"
    if PREFECT.exists() or not database.exists():
        return
    if process := user_of(database):
        sys.exit(
            f"{OLD_PREFECT} is to be moved to {PREFECT}, out of what parameters may name, and "
            f"process {process.pid} uses it; end that run, or `make stop`, and start again."
        )
    shutil.move(OLD_PREFECT, PREFECT)
    print(f"Prefect's home is now {PREFECT}: {OLD_PREFECT} was moved, out of the workers' roots.")


def user_of(file: Path) -> psutil.Process | None:
    """Return a process of ours that has a file open, if there is one."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(opened.path == str(file.resolve()) for opened in process.open_files()):
                return process
    return None


def await_health() -> None:
    """Wait for the server; its first start migrates a database.

    Raises:
        SystemExit: if it ends or stays silent; the end of its log is shown.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if is_healthy():
            return
        if not running("server"):
            break
        time.sleep(0.5)
    log = (STATE / "server.log").read_text("utf-8", errors="replace")
    sys.exit(
        f"The server did not come up on port {PORT} within {START_SECONDS:g} s; mend what its log "
        "says at its end, or, if the machine is just busy, set DSKD_START_SECONDS higher:\n"
        f"{log[-2000:]}"
    )


def register() -> None:
    """Tell the server of pools, limits, automations and deployments.

    Raises:
        SystemExit: if the server refuses one; what was printed is shown.
    """
    command = [sys.executable, str(HOME / "infra/register.py"), "--limit-pools"]
    done = subprocess.run(
        command, cwd=HOME, env=environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"infra/register.py failed:\n{done.stdout}\n{done.stderr}")
    print(done.stdout, end="")


def stop() -> None:
    """End workers, their runs and the server: first asked, then, if deaf, killed."""
    (STATE / "api_url").unlink(missing_ok=True)
    for name in (*(f"worker-{pool}" for pool in POOLS), "server"):
        process = running(name)
        if process:
            end_tree(process)
            print(f"{name} stopped")
        (STATE / f"{name}.json").unlink(missing_ok=True)


def end_tree(process: psutil.Process) -> None:
    """End a process and all its children, those that ignore SIGTERM too."""
    family = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    _, deaf = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for member in deaf:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(deaf, timeout=5)


def status() -> None:
    """Print what runs."""
    for name in ("server", *(f"worker-{pool}" for pool in POOLS)):
        process = running(name)
        print(f"{name}: {f'running as {process.pid}' if process else 'not running'}")


if __name__ == "__main__":
    commands = {"start": start, "stop": stop, "status": status}
    if sys.argv[1:2] and sys.argv[1] in commands:
        commands[sys.argv[1]]()
    else:
        sys.exit(__doc__)
