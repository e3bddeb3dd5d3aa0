"""Chat templates run in a process of their own, bounded in time, memory and text.

A chat template is a program that came with a model. transformers' sandbox keeps it from files and
Python's insides, but not from loops in loops, ``'a' * 10**9`` or a macro that calls itself, even
while it is compiled. So it runs where the system itself can stop it: a child process whose
processor time and address space are limited. Time is the child's own, so that a busy machine
refuses no template.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from dskd_core import interruption
from dskd_core.errors import ConfigError

SECONDS = 5
"""Of processor time for one chat, which takes about a millisecond."""
MEMORY_BYTES = 512 << 20
"""On top of what the interpreter itself takes."""
MORE_CHARACTERS = 100_000
MOST_TIMES = 10
"""A chat is written in at most this many times its own characters, and ``MORE_CHARACTERS``."""
_BLOCK = 1 << 16
_CURE = "use a teacher with another chat template, or delete this one to have the plain format"


class TemplateProcess:
    """A child process that writes chats; started when first needed, and again after it was ended.

    One serves all templates of this process and its threads, a chat at a time: starting it takes a
    second or two, a chat a millisecond.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._starter = 0

    def write(self, request: dict[str, Any], owner: str) -> str:
        """Return a chat as text.

        A request has the ``template``, the ``values`` that it may name, and the ``chat``.

        Raises:
            ConfigError: if the template fails, or needs more than it is given.
            Interrupted: if the work was asked to stop.
        """
        with self._turn:
            try:
                answer = self._ask(json.dumps(request).encode() + b"\n")
            except BaseException:
                self.end()
                raise
            if "text" in answer:
                return str(answer["text"])
            if "error" not in answer:
                self.end()  # what the template left there
        if "limit" in answer:
            raise ConfigError(
                f"The chat template of {owner} needs more than {answer['limit']} for one chat; "
                f"{_CURE}."
            )
        raise ConfigError(
            f"The chat template of {owner} cannot write a chat of user and assistant "
            f"({answer['error']}); {_CURE}."
        )

    def end(self) -> None:
        """End the child, whatever it is at; one of the process that forked this one is left."""
        child, self._child = self._child, None
        if child is None or self._starter != os.getpid():
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(BrokenPipeError):
                _piped(pipe).close()
        child.wait()

    def _ask(self, line: bytes) -> dict[str, Any]:
        if self._child is None or self._starter != os.getpid():
            self._child, self._starter = _started(), os.getpid()
            self._line(self._child)  # it is ready
        child = self._child
        with contextlib.suppress(BrokenPipeError):  # no answer will say why
            _piped(child.stdin).write(line)
            _piped(child.stdin).flush()
        if answer := self._line(child):
            found: dict[str, Any] = json.loads(answer)
            return found
        if (ended := child.wait()) == -signal.SIGPROF:
            return {"limit": f"{SECONDS} seconds of processor time"}
        # The interpreter dies where not even an error can be formed: of memory, or of its stack.
        return {"limit": f"{MEMORY_BYTES >> 20} MiB of memory or its stack (exit {ended})"}

    @staticmethod
    def _line(child: "subprocess.Popen[bytes]") -> bytes:
        """Return a line of the child's, or nothing where it has ended."""
        pipe, parts = _piped(child.stdout).fileno(), [b""]
        while not parts[-1].endswith(b"\n"):
            interruption.check()
            if select.select([pipe], [], [], 0.2)[0]:
                parts.append(os.read(pipe, _BLOCK))
                if not parts[-1]:
                    return b""
        return b"".join(parts)


_process = TemplateProcess()
atexit.register(_process.end)


def render(
    template: str, values: dict[str, Any], chat: Sequence[dict[str, str]], owner: str
) -> str:
    """Return a chat as a template writes it; errors as :meth:`TemplateProcess.write` has them."""
    request = {"template": template, "values": values, "chat": list(chat), "seconds": SECONDS}
    return _process.write(request, owner)


def _started() -> "subprocess.Popen[bytes]":
    kept = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "LD_LIBRARY_PATH")
    own = {name: os.environ[name] for name in kept if name in os.environ}
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=own | {"PYTHONPATH": path, "PYTHONHASHSEED": "0", "HF_HUB_OFFLINE": "1"},
        start_new_session=True,  # an interrupt from the keyboard is ours to pass on
    )


def _piped(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # both are asked for
    return pipe


def _serve() -> None:
    """Write the chats that come in, until no more do."""
    import resource

    from transformers.utils.chat_template_utils import render_jinja_template

    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY_BYTES,) * 2)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # which ends the process, whatever it is at
    print("{}", flush=True)
    for line in sys.stdin.buffer:
        request = json.loads(line)
        chat = request["chat"]
        most = MORE_CHARACTERS + MOST_TIMES * sum(len(turn["content"]) for turn in chat)
        signal.setitimer(signal.ITIMER_PROF, request["seconds"])
        try:
            texts, _ = render_jinja_template(
                conversations=[chat],
                chat_template=request["template"],
                add_generation_prompt=True,
                **request["values"],
            )
            short = len(texts[0]) <= most
            answer = {"text": texts[0]} if short else {"limit": f"{most:,} characters"}
        except MemoryError:
            answer = {"limit": f"{MEMORY_BYTES >> 20} MiB of memory"}
        except Exception as error:  # a template fails in as many ways as a program
            answer = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
