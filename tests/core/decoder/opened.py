"""Load the models of a list of folders, and say what was opened that none of them may open.

Run in a process of its own, with a list of cases as JSON on its input; a hook that watches what a
process opens cannot be taken off again. Libraries in Rust open files without Python knowing: so the
kernel is asked too, by inotify, whether anyone opened the file with the secret.
"""

import ctypes
import json
import os
import struct
import sys
from pathlib import Path

from dskd_core.config import TeacherConfig
from dskd_core.decoder.decoder import load_decoder
from dskd_core.decoder.model_files import model_view
from dskd_core.decoder.tokenizer import load_tokenizer

IN_OPEN = 0x20


class Watch:
    """Every opening of one file, by whatever library."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.queue = self.libc.inotify_init1(os.O_NONBLOCK)
        if self.libc.inotify_add_watch(self.queue, os.fsencode(path), IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def count(self):
        try:
            data, n = os.read(self.queue, 1 << 20), 0
        except BlockingIOError:
            return 0
        while data:
            n += 1
            data = data[16 + struct.unpack_from("iIII", data)[3] :]
        return n


class Opened:
    """The real paths of what Python opens in the block, which may be entered again and again."""

    def __init__(self):
        self.paths, self._listens = [], False
        sys.addaudithook(self._hear)

    def __enter__(self):
        self.paths, self._listens = [], True
        return self

    def __exit__(self, *_):
        self._listens = False

    def _hear(self, event, arguments):
        if event == "open" and self._listens and isinstance(arguments[0], str | bytes):
            self.paths.append(os.path.realpath(os.fsdecode(arguments[0])))

    def beside(self, folders):
        """Return those outside of some folders, and of the views that models are loaded from."""
        outside = (path for path in self.paths if not path.startswith(folders))
        return [path for path in outside if "/dskd-model-" not in path]


def load(folder, weights):
    """Return all that is known of a model as text, and what refused it, or None."""
    try:
        tokenizer = load_tokenizer(folder)
        if weights:
            load_decoder(folder, TeacherConfig(dtype="float32", device="cpu"))
        with model_view(folder) as view:
            said = (view / "config.json").read_text()
    except Exception as found:
        return "", f"{type(found).__name__}: {found}"
    said += json.dumps(sorted(tokenizer.hf.get_vocab()))
    return said + repr(tokenizer.hf.init_kwargs) + repr(tokenizer.hf.init_inputs), None


def main():
    """Print of each case its error, what was opened elsewhere, and whether the secret leaks."""
    task = json.loads(sys.stdin.read())
    secret = Path(task["secret"])
    watch = Watch(secret)
    with secret.open():
        assert watch.count() == 1  # the kernel does tell

    library = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *sys.path[1:])]
    mounts = f"/proc/{os.getpid()}/mounts"  # what a file lies on, which readers of weights ask
    allowed = (*library, mounts, "/usr/", "/lib")
    load_tokenizer(Path(task["own"]))  # so that what is imported is, and a temporary place found
    load_decoder(Path(task["own"]), TeacherConfig(dtype="float16", device="cpu"))
    watch.count()
    opened = Opened()
    for case in task["cases"]:
        folder = Path(case["folder"])
        with opened:
            text, error = load(folder, case.get("weights"))
        found = {
            "error": error,
            "elsewhere": opened.beside((*allowed, str(folder.resolve()))),
            "secret_opened": watch.count(),
            "leaks": task["text"] in text,
        }
        print(json.dumps({**case, **found}), flush=True)


if __name__ == "__main__":
    main()
