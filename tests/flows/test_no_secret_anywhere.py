"""Marked secrets everywhere, runs that succeed, fail and crash: no byte written has a mark."""

import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows.leaks import ENVIRONMENT, IN_DOTENV, MARK
from tests.served import ROOT, awaited

pytestmark = [
    pytest.mark.xdist_group("prefect"),
    pytest.mark.usefixtures("prefect_server"),
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


def forms_of_the_mark() -> list[bytes]:
    """Return the mark, and what base64 makes of it at each of its three places in a text."""
    whole = [b64encode(b"\0" * n + MARK.encode()).decode() for n in range(3)]
    first, last = (0, 2, 3), (8, 9, 10)  # characters that depend on the mark alone
    inside = [text[first[n] : last[n]].rstrip("=") for n, text in enumerate(whole)]
    return [MARK.encode(), *(text.encode() for text in inside)]


def files_with(marks: list[bytes], *folders: Path) -> Iterator[str]:
    for path in (path for folder in folders for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for mark in marks:
            if (place := data.find(mark)) >= 0:
                yield f"{path}: {data[max(place - 200, 0) : place + 80]!r}"


@pytest.fixture(scope="module")
def leaked(tmp_path_factory, prefect_server):
    """The folder of a process that did all it could; its output is there, too."""
    folder = tmp_path_factory.mktemp("leaks")
    home = folder / "home"
    home.mkdir()
    lines = [f"{name}={value}" for name, value in IN_DOTENV.items()]
    (home / ".env").write_text("\n".join(lines))
    known = {"PREFECT_API_URL": prefect_server.api_url, "PREFECT_HOME": str(folder / "prefect")}
    known |= {
        "PYTHONPATH": str(ROOT),
        "PREFECT_LOGGING_EXTRA_LOGGERS": "dskd",
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "output").open("wb") as output:
        done = subprocess.run(
            [sys.executable, "-m", "tests.flows.leaks", str(folder / "run")],
            env=os.environ | ENVIRONMENT | known,
            cwd=home,
            stdout=output,
            stderr=output,
            timeout=400,
            check=False,
        )
    (home / ".env").unlink()
    text = (folder / "output").read_text("utf-8", "replace")
    assert "all said" in text, text[-5000:]
    assert "NOT BROKEN" not in text
    assert done.returncode == 1
    return folder, text


def test_no_byte_written_anywhere_has_a_secret(leaked, prefect_server):
    folder, text = leaked
    work = prefect_server.work
    database = work.with_name(f"{work.name}-prefect")
    said = [b"[PGPASSWORD]", b"stubborn, with", b"careless: "]
    assert awaited(lambda: all(any(files_with([mark], database)) for mark in said)), (
        "the server has the states and lines, or this test shows nothing"
    )
    found = list(files_with(forms_of_the_mark(), folder, work, database))
    assert not found, "\n".join(found[:20])
    assert "Traceback" in text


def test_what_is_shown_instead_names_the_secret(leaked):
    _, text = leaked
    for name in [*ENVIRONMENT, *IN_DOTENV]:
        assert f"[{name}]" in text, name
    assert "[login]@" in text
    assert "[token]" in text
