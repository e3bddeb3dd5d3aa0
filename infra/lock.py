"""Write the hashes of everything that is installed: ``python infra/lock.py``, with uv on the path.

The versions come from ``constraints.txt``. Every file of a version that the package index lists is
allowed, for all platforms and Pythons. ``pip install --require-hashes`` takes the locks:

    build    pip and setuptools
    worker   what a worker runs: dskd[s3,hub,dask,eval]
    dev      what tests and checks need besides
    optional the rest of constraints.txt: Ray, TRL, tokenizers of older models
    cuda     torch for CUDA 13, cuML, CuPy and NVIDIA's libraries, for Linux x86_64
    sample   packages that are installed for the files they carry

torch's CPU build is in none of them: docs/security.md says why.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCKS = ROOT / "infra/locks"
CONSTRAINTS = ROOT / "constraints.txt"
PYTHON = "3.11.14"
WORKER = ("s3", "hub", "dask", "eval")
CUDA = ("--extra", "gpu", "--python-platform", "x86_64-manylinux_2_28")
Blocks = dict[str, str]
"""Name of a package: its lines of a requirements file."""


def name_of(line: str) -> str:
    """Return the name that a pin begins with, as package indexes write it."""
    return re.sub(r"[-_.]+", "-", line.split("==", maxsplit=1)[0].strip()).lower()


def pins(text: str) -> Blocks:
    """Return the pins of a requirements file, each with its hashes."""
    blocks = re.split(r"\n(?=[A-Za-z])", "\n" + text)
    return {name_of(b): b.strip() for b in blocks if re.match(r"[\w.-]+==", b.strip())}


def compiled(*arguments: str) -> Blocks:
    """Let uv resolve under the constraints; return each pin with all hashes of its files."""
    command = ["uv", "pip", "compile", "--quiet", "--generate-hashes", "--no-header"]
    command += ["--no-annotate", "--python-version", PYTHON, "-c", str(CONSTRAINTS), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return pins(done.stdout)


def with_extras(*extras: str) -> tuple[str, ...]:
    """Return the arguments for dskd itself with some of its extras."""
    return ("pyproject.toml", *(word for extra in extras for word in ("--extra", extra)))


def write(name: str, blocks: Blocks) -> None:
    """Write one lock."""
    file = LOCKS / f"{name}.txt"
    header = "# By infra/lock.py, from constraints.txt; not to be edited.\n"
    file.write_text(header + "".join(f"{blocks[n]}\n" for n in sorted(blocks)), "utf-8")
    print(f"{file.relative_to(ROOT)}: {len(blocks)} packages")


def main() -> None:
    """Write all locks."""
    pinned = pins(CONSTRAINTS.read_text("utf-8"))
    every = compiled("--no-deps", str(CONSTRAINTS))
    build = {"pip", "setuptools"}
    ours = pinned.keys() - build - {"torch"}
    worker = compiled(*with_extras(*WORKER)).keys() & ours
    dev = (compiled(*with_extras(*WORKER, "dev")).keys() & ours) - worker
    groups = {"build": build, "worker": worker, "dev": dev, "optional": ours - worker - dev}
    for name, names in groups.items():
        write(name, {n: every[n] for n in names})
    cuda = compiled("pyproject.toml", *CUDA)
    write("cuda", {n: block for n, block in cuda.items() if n not in ours | build})
    write("sample", compiled("--no-deps", "requirements-sample.txt"))


if __name__ == "__main__":
    main()
