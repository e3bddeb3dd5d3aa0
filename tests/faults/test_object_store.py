"""An object store that stops, dies, refuses and comes back: the same bytes, or nothing published.

The store is a real SeaweedFS on loopback. A task is tried again after 5, 20 and 60 seconds; here
the second try comes as soon as the store is back.
"""

import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dskd_core.errors import ArtifactError
from dskd_core.store import places
from dskd_core.store.arrays import get_array, put_array
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore, Draft, Work
from dskd_core.store.verification import verify
from tests.faults.disks import mounted
from tests.faults.driver import live
from tests.faults.lives import lives
from tests.miniature import make
from tests.weed import Weed, free_port, needs_weed, serving

pytestmark = needs_weed

ROWS = np.random.default_rng(0).integers(0, 256, (48, 1 << 18), dtype=np.uint8)
N_FILES = 16


@pytest.fixture(scope="module")
def weed(tmp_path_factory) -> Iterator[Weed]:
    with serving(tmp_path_factory.mktemp("weed")) as weed:
        yield weed


@pytest.fixture
def work(request) -> Work:
    return Work("states", {"test": request.node.name}, {})


def fill(draft: Draft) -> None:
    """Write 12 MB in a dozen chunks, and a table."""
    group = draft.write_group("part.zarr")
    put_array(group, "states", ROWS, chunk_bytes=1 << 20)
    draft.write_table("rows.parquet", pa.table({"row": np.arange(1000)}))


def publish(store: ArtifactStore, work: Work) -> Artifact:
    with store.publish(work) as draft:
        fill(draft)
    return store.get(work.stage, work.fingerprint)


def read(artifact: Artifact) -> None:
    """Read everything in it and compare."""
    np.testing.assert_array_equal(get_array(artifact.group("part.zarr"), "states"), ROWS)
    assert artifact.table("rows.parquet").num_rows == 1000


def assert_as_calm(artifact: Artifact, folder) -> None:
    """Compare with the same work, published undisturbed in a folder."""
    calm = publish(ArtifactStore(str(folder)), Work("calm", {}, {}))
    assert artifact.record.files == calm.record.files
    assert verify(artifact.uri).problems == []


@contextmanager
def at_file(number: int, act: Callable[[], None]) -> Iterator[None]:
    """Act just before an upload puts its n-th file."""
    fs, _ = places.filesystem(Weed.uri)
    put, n_put = fs.put_file, 0

    def watched(local: str, remote: str, **options: object) -> None:
        nonlocal n_put
        n_put += 1
        if n_put == number:
            act()
        put(local, remote, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fs, "put_file", watched, raising=False)
        yield


def later(seconds: float, act: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


def test_a_store_that_is_frozen_for_two_seconds_is_waited_for(weed, work, tmp_path):
    def freeze() -> None:
        weed.freeze()
        later(2, weed.thaw)

    with at_file(5, freeze):
        artifact = publish(ArtifactStore(f"{weed.uri}/frozen"), work)
    assert_as_calm(artifact, tmp_path)
    freeze()
    read(artifact)


@pytest.mark.slow
def test_a_store_killed_during_an_upload_has_nothing_and_the_second_try_the_same_bytes(
    weed, work, tmp_path
):
    store = ArtifactStore(f"{weed.uri}/killed")
    refused = pytest.raises(OSError, match=r"upload of .* broke off .*nothing is published")
    with refused, at_file(7, weed.kill):
        publish(store, work)
    weed.start()
    assert store.find(work) is None, "same process, same connection pool"
    assert 0 < len(places.list_names(places.join(store.uri(work), "part.zarr"))) <= N_FILES
    artifact = publish(store, work)
    assert_as_calm(artifact, tmp_path)
    read(artifact)


@pytest.mark.slow
def test_a_store_killed_before_the_record_is_written_has_no_artifact(weed, work, tmp_path):
    store = ArtifactStore(f"{weed.uri}/recordless")
    refused = pytest.raises(OSError, match=rf"upload of {RECORD} .* broke off")
    with refused, at_file(N_FILES, weed.kill):
        publish(store, work)
    weed.start()
    assert store.find(work) is None
    assert store.of_stage(work.stage) == []
    assert_as_calm(publish(store, work), tmp_path)


@pytest.mark.slow
def test_a_store_that_dies_while_it_is_read_gives_an_error_and_then_the_same_bytes(weed, work):
    artifact = publish(ArtifactStore(f"{weed.uri}/read"), work)
    group = artifact.group("part.zarr")
    weed.kill()
    for attempt in (lambda: get_array(group, "states"), lambda: artifact.table("rows.parquet")):
        with pytest.raises(Exception, match=r"(?i)connect") as error:  # botocore has its own kinds
            attempt()
        assert not isinstance(error.value, ArtifactError), "tried again, not refused"
    weed.start()
    np.testing.assert_array_equal(get_array(group, "states"), ROWS)
    read(artifact)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [2, 20])
def test_a_store_that_is_away_for_a_while_is_outlived_by_the_retries_of_a_task(
    weed, work, tmp_path, seconds
):
    delays, store = [5, 20, 60], ArtifactStore(f"{weed.uri}/away")

    def away() -> None:
        weed.kill()
        later(seconds, weed.start)

    with at_file(4, away):
        for delay in [*delays, None]:
            try:
                artifact = publish(store, work)
                break
            except OSError:
                assert store_is_empty_or_away(store, work)
                time.sleep(delay)
    assert_as_calm(artifact, tmp_path)
    read(artifact)


def store_is_empty_or_away(store: ArtifactStore, work: Work) -> bool:
    try:
        return store.find(work) is None
    except Exception:  # away
        return True


@pytest.mark.slow
def test_a_store_that_is_frozen_for_twenty_seconds_is_waited_for(weed, work, tmp_path):
    def freeze() -> None:
        weed.freeze()
        later(20, weed.thaw)

    with at_file(5, freeze):
        artifact = publish(ArtifactStore(f"{weed.uri}/frozen"), work)
    assert_as_calm(artifact, tmp_path)


class Refusing(socketserver.ThreadingTCPServer):
    """Stands before the store and answers 500 to some requests in its stead."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, port: int, target: int) -> None:
        super().__init__(("127.0.0.1", port), _Pass)
        self.target, self.n_refused = target, 0

    def refuses(self, head: bytes) -> bool:
        """Say whether a request is refused: the next ``n_refused`` that write."""
        if self.n_refused and head.startswith(b"PUT"):
            self.n_refused -= 1
            return True
        return False


class _Pass(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as store:
            threading.Thread(target=self._copy, args=(store, self.request), daemon=True).start()
            while content := self.request.recv(1 << 16):
                if self.server.refuses(content):
                    self.request.sendall(
                        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n"
                        b"Connection: close\r\n\r\n"
                    )
                    return
                store.sendall(content)

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        try:
            while content := source.recv(1 << 16):
                target.sendall(content)
        except OSError:
            pass  # one of the two has gone


@pytest.fixture
def refusing(weed, monkeypatch) -> Iterator[Refusing]:
    port = free_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    fs, _ = places.filesystem(Weed.uri)
    type(fs).clear_instance_cache()
    with Refusing(port, weed.port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    type(fs).clear_instance_cache()


def test_a_few_answers_of_500_are_outlived(refusing, weed, work, tmp_path):
    refusing.n_refused = 3
    artifact = publish(ArtifactStore(f"{weed.uri}/few"), work)
    assert refusing.n_refused == 0
    assert_as_calm(artifact, tmp_path)


@pytest.mark.slow
def test_answers_of_500_without_end_publish_nothing(refusing, weed, work, tmp_path):
    store = ArtifactStore(f"{weed.uri}/many")
    refusing.n_refused = 10**6
    with pytest.raises(OSError, match=r"upload of .* broke off .*nothing is published"):
        publish(store, work)
    assert store.find(work) is None
    refusing.n_refused = 0
    assert_as_calm(publish(store, work), tmp_path)


def test_what_another_process_publishes_is_seen_at_once(weed, work):
    store = ArtifactStore(f"{weed.uri}/stale")
    assert store.of_stage(work.stage) == []
    assert store.find(work) is None
    elsewhere, _ = places.filesystem(weed.uri)
    type(elsewhere).clear_instance_cache()  # as in another process
    artifact = publish(ArtifactStore(f"{weed.uri}/stale"), work)
    assert store.find(work) is not None
    assert [a.fingerprint for a in store.of_stage(work.stage)] == [work.fingerprint]
    assert (artifact.folder() / "rows.parquet").exists()


def test_a_file_lost_in_the_object_store_is_named(weed, work):
    artifact = publish(ArtifactStore(f"{weed.uri}/lost"), work)
    for name in ("part.zarr/states/c/3/0", "rows.parquet"):
        places.remove(artifact.file_uri(name))
    with pytest.raises(ArtifactError, match=r"states/c/3/0 is missing; .*run its stage again"):
        get_array(artifact.group("part.zarr"), "states")
    with pytest.raises(ArtifactError, match=r"rows\.parquet is missing; .*run its stage again"):
        artifact.table("rows.parquet")
    with pytest.raises(ArtifactError, match=r"lacks a file .*run its stage again"):
        artifact.folder()


def test_a_damaged_download_is_fetched_again(weed, work):
    artifact = publish(ArtifactStore(f"{weed.uri}/cached"), work)
    copy = artifact.folder() / "rows.parquet"
    wanted = copy.read_bytes()
    copy.write_bytes(wanted[:-1] + b"?")
    assert (artifact.folder() / "rows.parquet").read_bytes() == wanted


def test_a_download_that_fills_the_cache_leaves_nothing_there(weed, work, tmp_path, monkeypatch):
    artifact = publish(ArtifactStore(f"{weed.uri}/large"), work)
    monkeypatch.setenv("DSKD_CACHE", str(tmp_path / "cache"))
    with mounted(tmp_path / "cache", "4m") as resize:
        with pytest.raises(OSError, match=r"The disk of .*/cache is full: .*run again"):
            artifact.folder()
        assert list((tmp_path / "cache").iterdir()) == []
        resize("32m")
        read(replace(artifact, uri=str(artifact.folder())))


def download(uri: str, cache: str, _number: int) -> None:
    os.environ["DSKD_CACHE"] = cache
    read(replace(artifact := ArtifactStore.open(uri), uri=str(artifact.folder())))


@pytest.mark.slow
def test_processes_that_download_one_artifact_at_once_share_one_copy(weed, work, tmp_path):
    artifact = publish(ArtifactStore(f"{weed.uri}/shared"), work)
    with lives(download, seconds=60) as life:
        cache = tmp_path / "cache"
        assert life.together(*[(artifact.uri, str(cache), n) for n in range(4)]) == [0] * 4
    assert len(list(cache.iterdir())) == 1


@pytest.mark.slow
def test_two_runs_of_one_build_in_one_bucket_both_end_well(weed, tmp_path):
    calm = make(tmp_path, evaluation={"arms": ["kd", "paper"], "seeds": [0], "n_resamples": 20})
    twice = calm.model_copy(update={"root_uri": f"{weed.uri}/twice"})
    with lives(live, seconds=250) as life:
        assert life(calm) == 0
        assert life.together((twice,), (twice,)) == [0, 0]
    mine, theirs = ArtifactStore(calm.root_uri), ArtifactStore(twice.root_uri)
    for stage in sorted(path.name for path in Path(calm.root_uri).iterdir()):
        found = [
            {a.fingerprint: a.record.content for a in s.of_stage(stage)} for s in (mine, theirs)
        ]
        assert found[0] == found[1], stage
    for artifact in theirs.of_stage("student"):
        assert verify(artifact.uri).problems == []
