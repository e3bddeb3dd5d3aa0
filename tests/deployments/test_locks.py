"""infra/locks, the images and what they install: pinned, hashed, and of the Python of the tests."""

import re
import runpy
import tomllib
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
LOCK = runpy.run_path(str(ROOT / "infra/lock.py"))
PINNED = LOCK["pins"]((ROOT / "constraints.txt").read_text())
LOCKS = {p.stem: LOCK["pins"](p.read_text()) for p in (ROOT / "infra/locks").glob("*.txt")}
IMAGES = [p.read_text() for p in (ROOT / "infra/images").glob("*.Dockerfile")]


def version(block: str) -> str:
    return block.split("==")[1].split(maxsplit=1)[0]


def test_every_pin_but_torch_has_its_version_and_hashes_in_one_lock():
    assert LOCKS.keys() == {"build", "worker", "dev", "optional", "cuda", "sample"}
    ours = [LOCKS[name] for name in ("build", "worker", "dev", "optional")]
    locked = {name: version(block) for lock in ours for name, block in lock.items()}
    assert locked == {n: version(b) for n, b in PINNED.items() if n != "torch"}
    assert sum(map(len, ours)) == len(locked)
    assert version(LOCKS["cuda"]["torch"]) == version(PINNED["torch"])
    for lock in LOCKS.values():
        for block in lock.values():
            assert re.fullmatch(r"\S+==\S+( \\\n +--hash=sha256:[0-9a-f]{64})+", block), block


def test_what_dskd_asks_of_a_gpu_is_pinned_beside_what_all_workers_have():
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in asked["optional-dependencies"]["gpu"]:
        requirement = Requirement(line)
        assert version(LOCKS["cuda"][requirement.name]) in requirement.specifier
    assert not LOCKS["cuda"].keys() & (PINNED.keys() - {"torch"})


def test_the_sample_packages_are_those_of_their_list():
    text = (ROOT / "requirements-sample.txt").read_text()
    wanted = {LOCK["name_of"](line): version(line) for line in text.splitlines() if "==" in line}
    assert {n: version(b) for n, b in LOCKS["sample"].items()} == wanted


def test_the_images_have_the_python_of_the_locks_and_no_second_index():
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert len(IMAGES) == 2
    for image in IMAGES:
        [python] = re.findall(r"^FROM python:(\S+)-slim-bookworm$", image, re.M)
        assert python == LOCK["PYTHON"]
        assert python in SpecifierSet(wanted["project"]["requires-python"])
        assert python.startswith(wanted["tool"]["mypy"]["python_version"])
        assert "extra-index" not in image.lower()
        asked = re.findall(r"pip install (.*?)(?= &&|$)", image.replace("\\\n", " "), re.M)
        alone = [c for c in asked if "--index-url" in c]
        assert [c.split()[-1] for c in alone] in ([], ["torch==2.13.0"])
        for command in set(asked) - set(alone):
            assert "--require-hashes" in command or (
                "-c constraints.txt" in command and "'.[" in command
            )


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "a long text")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: BSD License")], "BSD License"),
        (
            [("Classifier", "License :: OSI Approved"), ("License", "\n Apache 2 \nmore")],
            "Apache 2",
        ),
        ([("License", "UNKNOWN")], "?"),
        ([("Classifier", "Topic :: Text")], "?"),
    ],
)
def test_a_licence_is_what_the_package_says_or_a_question_mark(fields, licence):
    metadata = Message()
    for name, value in fields:
        metadata[name] = value
    listing = runpy.run_path(str(ROOT / "infra/licences.py"))
    assert listing["licence_of"](SimpleNamespace(metadata=metadata)) == licence
