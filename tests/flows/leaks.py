"""A process full of secrets whose pipeline runs, fails and crashes, and says all it can.

Called with a folder; prints and logs go where the caller looks.
"""

import asyncio
import importlib
import logging
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tests.miniature import make

MARK = "mArKeD"
"""Stands in every secret and nowhere else."""
ENVIRONMENT = {
    "HF_TOKEN": f"hf_{MARK}0TokenOfTheHub0123",
    "AWS_ACCESS_KEY_ID": f"AKIA{MARK}0KEYID",
    "AWS_SECRET_ACCESS_KEY": f"aws/{MARK}/secret+key=",
    "PGPASSWORD": f"pg-{MARK}-password",
    "MYSQL_PWD": f"my-{MARK}-password",
    "GITHUB_TOKEN": f"classic-{MARK}-token",
    "GH_TOKEN": f"cli-{MARK}-token",
    "DSKD_NOTIFY_URL": f"https://hooks.example.org/T0/{MARK}-hook",
    "REPORTS_DATABASE_URL": f"postgresql+asyncpg://dskd:p@ss/{MARK}?w#rd@db:5432/dskd",
    "MIRROR": f"https://{MARK}-of-the-mirror@mirror.example.org/simple",
}
IN_DOTENV = {"PREFECT_API_KEY": f"pnu_{MARK}-of-a-file"}
NOBODYS = [
    f"s3://KEY:{MARK}-of-a-stranger@host/b",
    f"https://{MARK}-of-a-stranger@host/b",
    f"postgresql://u:p/{MARK}@x@host/db",
    f"ghp_{MARK}0123456789012345678901234567",
    f"Authorization: Bearer {MARK}.of.a.stranger",
]
"""Secrets that no environment knows, known by their form."""


def everything() -> str:
    """Return all secrets in all forms, as a careless library would put them in a message."""
    known = [*ENVIRONMENT.values(), *IN_DOTENV.values()]
    encoded = [quote(secret, safe="") for secret in known]
    basic = [
        b64encode(f"{'u' * n}:{secret}".encode()).decode() for secret in known for n in (1, 2, 3)
    ]
    return " ".join([*known, *encoded, *basic, *NOBODYS])


class StubbornError(Exception):
    """An error whose message is no argument of it."""

    def __str__(self) -> str:
        """Return more than anybody should know."""
        return f"stubborn, with {everything()}"


class StubbornEnd(BaseException):
    """The same, for what no task or flow catches."""

    __str__ = StubbornError.__str__


def chained() -> OSError:
    """Return an error with secrets in its arguments, its notes, and behind it."""
    error = OSError(
        5, everything(), f"/tmp/{MARK}-{ENVIRONMENT['HF_TOKEN']}".replace(f"{MARK}-", "")
    )
    error.add_note(everything())
    error.__cause__ = ValueError({"a": [everything()], "b": everything().encode()})
    error.__cause__.__context__ = StubbornError()
    return error


@contextmanager
def broken(place: str, error: BaseException) -> Iterator[None]:
    """Have a function of the core log all secrets and raise meanwhile."""
    module, _, name = place.rpartition(".")
    found = importlib.import_module(module)
    whole = getattr(found, name)

    def breaks(*_: object, **__: object) -> None:
        logging.getLogger("dskd.careless").warning("careless: %s", everything())
        raise error

    setattr(found, name, breaks)
    try:
        yield
    finally:
        setattr(found, name, whole)


def fails(what: Callable[[], object], place: str, error: BaseException) -> None:
    """Run a flow with something broken, and say how it ended."""
    with broken(place, error):
        try:
            what()
        except BaseException as ended:
            logging.getLogger("dskd.careless").exception("ended by %r", ended)
            print(f"{place}: {type(ended).__name__}: {ended} {ended!r} {vars(ended)}", flush=True)
        else:
            print(f"{place}: NOT BROKEN", flush=True)


def main(folder: Path) -> None:
    """Run, fail, crash, refuse."""
    from flows.pipeline import pipeline
    from flows.plan import plan
    from flows.tidy import tidy
    from flows.train import train
    from tasks import evaluation, planning, training
    from tasks import tidy as tidying

    for task in (tidying.tidy, planning.plan, training.precomputed, evaluation.report):
        task.retry_delay_seconds, task.retry_jitter_factor = [0, 0, 0], None
    config = make(folder, evaluation={"seeds": [0], "n_resamples": 50})
    report = "dskd_core.evaluation.report.store.build_report"
    fails(lambda: pipeline(config), report, chained())
    made = pipeline(config)
    print(f"made {len(made.listed())} stages", flush=True)
    for name in ("resolve_mode", "capture_shards"):  # in the flow's own body
        place = f"dskd_core.training.activations.store.{name}"
        fails(lambda: train(config), place, ConnectionError(everything()))
    precomputed = config.training.model_copy(update={"mode": "precomputed"})
    reused = config.model_copy(update={"training": precomputed})
    found = "dskd_core.training.activations.precomputed.find_precomputed"
    fails(lambda: train(reused), found, KeyError(everything()))
    fails(lambda: plan(config), "dskd_core.planning.plan.make_plan", StubbornError())
    group = ExceptionGroup(everything(), [chained(), ExceptionGroup("b", [StubbornError()])])
    sweep = "dskd_core.store.garbage.find_garbage"
    fails(lambda: tidy(config), sweep, group)
    for end in (KeyboardInterrupt, SystemExit, asyncio.CancelledError):
        fails(lambda: tidy(config), sweep, end(everything()))
    fails(lambda: tidy(config), sweep, StubbornEnd())
    fails(lambda: tidy(config), "flows.tidy.check_settings", StubbornEnd())
    corpus = config.corpus.model_copy(update={"text_field": ENVIRONMENT["PGPASSWORD"]})
    tidy(config.model_copy(update={"corpus": corpus}), dry_run=True)  # taken, and not kept
    for values in (
        {"root_uri": NOBODYS[0]},
        {"teacher": {"revision": ENVIRONMENT["GH_TOKEN"], "x": 1}},
    ):
        fails(lambda values=values: tidy(values), "dskd_core.store.garbage.sweep", OSError())
    print("all said", flush=True)
    raise StubbornError


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    main(Path(sys.argv[1]))
