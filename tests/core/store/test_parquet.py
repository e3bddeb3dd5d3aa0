"""Queries that write, and that end when their run is asked to stop."""

import threading
import time
from contextvars import copy_context

import duckdb
import pytest

from dskd_core import interruption
from dskd_core.interruption import Interrupted
from dskd_core.store.parquet import database, write_query

ENDLESS = "SELECT a.range FROM range(100000000) a, range(100000000) b WHERE hash(a.range) = b.range"
FLOWING = "SELECT a.range FROM range(100000000) a, range(100000000) b"


@pytest.mark.parametrize(
    "run",
    [
        lambda connection, path: connection.execute(ENDLESS).fetchall(),
        lambda connection, path: write_query(connection, ENDLESS, path / "sorted.parquet"),
        lambda connection, path: write_query(connection, FLOWING, path / "flowing.parquet"),
    ],
)
def test_a_long_query_ends_within_a_second_after_its_run_is_asked_to_stop(run, tmp_path):
    asked: list[float] = []

    def ask() -> None:
        asked.append(time.monotonic())
        interruption.request("a")

    def query() -> float:
        interruption.belong_to("a")
        with pytest.raises(Interrupted), database() as connection:
            run(connection, tmp_path)
        return time.monotonic() - asked[0]

    timer = threading.Timer(0.5, ask)
    timer.start()
    try:
        assert copy_context().run(query) < 1.0
    finally:
        timer.join()
        interruption.clear("a")


def test_a_query_that_fails_by_itself_keeps_its_error_and_other_runs_go_on():
    interruption.request("another")
    try:
        with database() as connection:
            assert connection.execute("SELECT 1").fetchall() == [(1,)]
        with pytest.raises(duckdb.CatalogException), database() as connection:
            connection.execute("SELECT * FROM nothing")
    finally:
        interruption.clear("another")
