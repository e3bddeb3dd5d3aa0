"""Fill a folder with what ``make gpu`` needs and a machine with torch lacks: make wheels.

    python infra/wheels.py [--python 3.12] [--folder wheels]

Such a machine may have no network, and what is carried to it may have a limit: 60 MiB here. The
files are those of infra/locks, checked against their hashes. As they come they are 92 MiB, so the
large ones are packed again, with LZMA (pip reads it), and of pyarrow what nothing here imports is
left out: Flight, its own S3, C++ headers and its tests. Every file that stays keeps its bytes, and
no library that stays may name one that does not.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from lock import LOCKS, ROOT, name_of, pins

LIMIT = 60 << 20
LARGE = 2 << 20
UNUSED = {
    "pyarrow": re.compile(
        r"pyarrow/(include/|tests/|src/|_(flight|s3fs)\.)"
        r"|pyarrow/libarrow_(flight|python_flight|s3)\."
        r"|pyarrow/libarrow_python\w*\.so(\.\d+\.\d+\.\d+)?$"
    )
}
"""By package: members that are left out. libarrow_python is in the wheel under three names, and
only the one that ends in its ABI version is looked for when pyarrow is imported."""
_GLIBC = (28, 27, 17)


def wanted() -> list[str]:
    """Return the names of infra/requirements-gpu.txt."""
    lines = (ROOT / "infra" / "requirements-gpu.txt").read_text("utf-8").splitlines()
    return [re.split(r"[<>=!~ ]", line)[0] for line in lines if line and not line.startswith("#")]


def download(folder: Path, python: str) -> None:
    """Get the locked wheels for Linux on x86-64 and one Python."""
    blocks = {}
    for lock in LOCKS.glob("*.txt"):
        blocks |= pins(lock.read_text("utf-8"))
    pinned = folder / "requirements.txt"
    pinned.write_text("".join(blocks[name_of(name)] + "\n" for name in wanted()), "utf-8")
    platforms = [f"manylinux_2_{n}_x86_64" for n in _GLIBC]
    platforms += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--python-version", python]
    command += ["--implementation", "cp", *(f"--platform={name}" for name in platforms)]
    subprocess.run([*command, "-d", str(folder), "-r", str(pinned)], check=True)
    pinned.unlink()


def repack(wheel: Path, target: Path) -> None:
    """Pack a wheel again, smaller: with LZMA, and without what its package's UNUSED matches."""
    unused = UNUSED.get(wheel.name.split("-")[0])
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as new:
        gone = [name for name in old.namelist() if unused and unused.match(name)]
        libraries = [name.rpartition("/")[2].encode() + b"\0" for name in gone if ".so" in name]
        for member in old.infolist():
            if member.filename in gone:
                continue
            content = old.read(member)
            if content.startswith(b"\x7fELF") and (named := [n for n in libraries if n in content]):
                sys.exit(
                    f"{member.filename} needs {named[0][:-1].decode()}: take it out of UNUSED."
                )
            if gone and member.filename.endswith(".dist-info/RECORD"):
                lines = content.decode("utf-8").splitlines(keepends=True)
                listed = [line for line in lines if line.split(",")[0] not in gone]
                content = "".join(listed).encode("utf-8")
            entry = zipfile.ZipInfo(member.filename, member.date_time)
            entry.external_attr = member.external_attr
            new.writestr(entry, content, zipfile.ZIP_LZMA)


def main() -> None:
    """Fill the folder, say how large it is, and refuse one that is larger than allowed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--python", default="3.12", help="of the machine they are for")
    parser.add_argument("--folder", type=Path, default=ROOT / "wheels")
    options = parser.parse_args()
    shutil.rmtree(options.folder, ignore_errors=True)
    options.folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as fresh:
        download(Path(fresh), options.python)
        for wheel in sorted(Path(fresh).glob("*.whl")):
            target = options.folder / wheel.name
            if wheel.stat().st_size >= LARGE:
                repack(wheel, target)
            else:
                shutil.copyfile(wheel, target)
            print(f"{target.stat().st_size / 2**20:8.2f} MiB  {wheel.name}", flush=True)
    total = sum(file.stat().st_size for file in options.folder.iterdir())
    print(f"{total / 2**20:8.2f} MiB  in all, for Python {options.python} on Linux x86-64")
    if total > LIMIT:
        sys.exit(
            f"The wheels take {total / 2**20:.1f} MiB, more than {LIMIT >> 20} MiB; take a package "
            "out of infra/requirements-gpu.txt, or what nothing imports of one (UNUSED)."
        )


if __name__ == "__main__":
    main()
