"""Make the environment of ``make gpu`` where there is no .venv, from what the machine has.

    python3 infra/gpu_environment.py .venv-gpu [wheels]

The interpreter that runs this has torch, and keeps it: the environment sees all of its packages,
and gets what infra/requirements-gpu.txt names and they lack: from the folder of wheels alone, and
no network is asked, where there is one. Nothing but the standard library is used.
"""

import site
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Make it, or bring what it lacks."""
    place, wheels = Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "wheels")
    if not (place / "bin/python").exists():
        venv.create(place, system_site_packages=True, with_pip=True)
    python = str(place / "bin/python")
    # A virtual environment made by another one's Python sees what is beneath both, not the other.
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True)
    if any(Path(own.stdout.strip()).glob("setuptools-*")):
        # Python 3.11 brings an old one, which would hide the machine's: torch asks for a newer.
        remove = [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"]
        subprocess.run(remove, check=True)
    outer = [path for path in (*site.getsitepackages(), site.getusersitepackages()) if path]
    seen = "".join(f"{path}\n" for path in outer if Path(path).is_dir())
    Path(own.stdout.strip(), "outer.pth").write_text(seen, "utf-8")
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if wheels.is_dir():
        command += ["--no-index", "--find-links", str(wheels)]
    subprocess.run([*command, "-r", str(ROOT / "infra" / "requirements-gpu.txt")], check=True)
    lacks = "import torch, transformers, numpy"
    if subprocess.run([python, "-c", lacks], check=False).returncode:
        sys.exit(
            f"{sys.executable} has no torch, transformers or numpy (see above); name one that has "
            "them: make gpu PYTHON=/path/to/python3."
        )


if __name__ == "__main__":
    main()
