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


def main():
    """Print of each case its error, what was opened elsewhere, and whether the secret leaks."""
    task = json.loads(sys.stdin.read())
    secret = Path(task["secret"])
    watch = Watch(secret)
    with secret.open():
        assert watch.count() == 1  # the kernel does tell

    from dskd_core.config import TeacherConfig
    from dskd_core.decoder.decoder import load_decoder
    from dskd_core.decoder.model_files import model_view
    from dskd_core.decoder.tokenizer import load_tokenizer

    library = [os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *sys.path[1:])]
    mounts = f"/proc/{os.getpid()}/mounts"  # what a file lies on, which readers of weights ask
    allowed = (*library, mounts, "/usr/", "/lib")
    load_tokenizer(Path(task["own"]))  # so that what is imported is, and a temporary place found
    load_decoder(Path(task["own"]), TeacherConfig(dtype="float16", device="cpu"))
    watch.count()
    seen, busy = [], [False]

    def hook(event, arguments):
        if event == "open" and busy[0] and isinstance(arguments[0], str | bytes):
            seen.append(os.path.realpath(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)
    for case in task["cases"]:
        folder = Path(case["folder"])
        seen.clear()
        busy[0] = True
        try:
            tokenizer = load_tokenizer(folder)
            if case.get("weights"):
                load_decoder(folder, TeacherConfig(dtype="float32", device="cpu"))
            with model_view(folder) as view:
                said = (view / "config.json").read_text()
            error = None
        except Exception as found:
            tokenizer, said, error = None, "", f"{type(found).__name__}: {found}"
        busy[0] = False
        home = str(folder.resolve())
        elsewhere = [
            path
            for path in seen
            if not path.startswith((*allowed, home)) and "/dskd-model-" not in path
        ]
        text = said + (json.dumps(sorted(tokenizer.hf.get_vocab())) if tokenizer else "")
        if tokenizer:
            text += repr(tokenizer.hf.init_kwargs) + repr(tokenizer.hf.init_inputs)
        print(
            json.dumps(
                {
                    **case,
                    "error": error,
                    "elsewhere": elsewhere,
                    "secret_opened": watch.count(),
                    "leaks": task["text"] in text,
                }
            ),
            flush=True,
        )


if __name__ == "__main__":
    main()
