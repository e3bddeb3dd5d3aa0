import errno
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from dskd_core.config import EmbeddingsConfig, PipelineConfig
from dskd_core.corpus.store import load_windows
from dskd_core.decoder.decoder import Decoder, load_teacher, slot_on_device
from dskd_core.decoder.states import (
    decode_states,
    dequantise_states,
    encode_states,
    quantise_states,
)
from dskd_core.embeddings import store as embeddings_store
from dskd_core.embeddings.readers import load_embeddings
from dskd_core.embeddings.sampling import occurrence_hashes
from dskd_core.embeddings.store import collect_embeddings, extract_shard, plan_shards
from dskd_core.errors import ArtifactError, DataError
from dskd_core.progress import silent
from dskd_core.store.artifacts import ArtifactStore
from dskd_core.store.verification import verify

ROOT = Path(__file__).parents[3]


def _embeddings(built, tmp_path, **changes):
    config = built.config.embeddings.model_copy(update=changes)
    store = ArtifactStore(str(tmp_path))
    teacher, corpus = built.teacher(), built.corpus()
    shards = plan_shards(corpus, config)
    parts = [
        extract_shard(store, config, built.config.teacher, teacher, corpus, shard)
        for shard in reversed(shards)
    ]
    artifact = collect_embeddings(store, config, teacher, corpus, parts)
    return artifact, load_embeddings(artifact, store), len(shards)


def _naive(built, key: str) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """Return (document, position) -> (token, state), one window at a time, from full logits."""
    windows = load_windows(built.corpus())
    teacher = load_teacher(built.teacher(), built.config.teacher)
    found = {}
    for number in np.flatnonzero(~windows.heldout):
        ids = windows.window(number).tolist()
        with torch.no_grad():
            out = teacher.model(torch.tensor([ids]), output_hidden_states=True)
        document, start = int(windows.documents[number]), int(windows.starts[number])
        text = windows.document(document).tolist()
        for t in range(len(ids)):
            following = text[start + t + 1] if start + t + 1 < len(text) else None
            logits = out.logits[0, t, : teacher.n_tokens]
            token = {"predicted": int(logits.argmax()), "next": following, "input": ids[t]}[key]
            if token is not None and token > 1:  # 0 and 1 are special
                found[document, start + t] = (token, out.hidden_states[-1][0, t].numpy())
    return found


@pytest.mark.parametrize("key", ["predicted", "next", "input"])
def test_every_row_is_the_state_at_its_place_filed_under_its_token(miniature, tmp_path, key):
    _, embeddings, _ = _embeddings(miniature, tmp_path, key=key, max_occurrences=10_000)
    expected = _naive(miniature, key)
    rows = embeddings.read(0, len(embeddings.tokens))
    tokens = np.repeat(rows.tokens, np.diff(rows.offsets))
    assert len(tokens) == len(expected)
    for token, document, position, state in zip(
        tokens, rows.documents, rows.positions, rows.states, strict=True
    ):
        wanted_token, wanted_state = expected[int(document), int(position)]
        assert token == wanted_token
        np.testing.assert_allclose(state, wanted_state, atol=2e-5)


def test_the_sample_is_the_same_bits_from_any_number_of_shards_in_any_order(miniature, tmp_path):
    reads = []
    for number, shard_tokens in enumerate((10_000, 384, 130)):
        artifact, embeddings, n_shards = _embeddings(
            miniature, tmp_path / str(number), shard_tokens=shard_tokens, max_occurrences=5
        )
        rows = embeddings.read(0, len(embeddings.tokens))
        reads.append((n_shards, artifact.fingerprint, artifact.record.content, rows))
    assert [n for n, *_ in reads] == [1, 3, 7]
    assert len({fingerprint for _, fingerprint, *_ in reads}) == 1
    assert len({content for _, _, content, _ in reads}) == 1
    for *_, rows in reads[1:]:
        for name in ("offsets", "states", "documents", "positions"):
            np.testing.assert_array_equal(getattr(rows, name), getattr(reads[0][-1], name))
    assert np.diff(reads[0][-1].offsets).max() == 5


def _rank(place: tuple[int, int], keys: np.ndarray) -> int:
    document, position = place
    return int(occurrence_hashes(keys[[document]], np.array([position]), 0)[0])


@pytest.mark.parametrize("key", ["next", "input"])
@pytest.mark.parametrize("shard_tokens", [10_000, 100])
def test_the_census_stores_the_sample_and_nothing_else(miniature, tmp_path, key, shard_tokens):
    changes = {"key": key, "max_occurrences": 2, "shard_tokens": shard_tokens}
    artifact, embeddings, n_shards = _embeddings(miniature, tmp_path, **changes)
    keys = load_windows(miniature.corpus()).document_hashes
    places = defaultdict(list)
    for place, (token, _) in _naive(miniature, key).items():
        places[token].append(place)
    rows = embeddings.read(0, len(embeddings.tokens))
    kept = list(zip(rows.documents.tolist(), rows.positions.tolist(), strict=True))
    assert rows.tokens.tolist() == sorted(places)
    for i, token in enumerate(rows.tokens.tolist()):
        ranked = sorted(places[token], key=lambda place: _rank(place, keys))
        assert kept[rows.offsets[i] : rows.offsets[i + 1]] == ranked[:2]
    counts = artifact.record.counts
    assert counts["stored_rows"] == counts["rows"] == len(kept)
    assert counts["missing_rows"] == 0
    assert counts["occurrences"] == sum(map(len, places.values()))
    assert counts["skipped_positions"] > 0
    assert counts["parts"] == n_shards


def test_windows_with_nothing_to_keep_are_never_run(miniature, tmp_path, monkeypatch):
    n_run = []
    states = Decoder.states

    def counting(self, token_ids, *lengths):
        n_run.append(len(token_ids))
        return states(self, token_ids, *lengths)

    monkeypatch.setattr(Decoder, "states", counting)
    artifact, *_ = _embeddings(miniature, tmp_path, key="next", max_occurrences=1)
    windows = load_windows(miniature.corpus())
    counts = artifact.record.counts
    assert sum(n_run) == counts["windows"] < (~windows.heldout).sum()
    assert counts["windows"] + counts["skipped_windows"] == (~windows.heldout).sum()


def test_rows_that_a_limit_costs_a_token_are_counted(miniature, tmp_path):
    """The miniature's teacher is random: it predicts other tokens than the text has."""
    cap, changes = 5, {"max_occurrences": 5, "safety": 1.0}
    artifact, embeddings, _ = _embeddings(miniature, tmp_path, **changes)
    n_predicted = Counter(token for token, _ in _naive(miniature, "predicted").values())
    n_kept = dict(zip(embeddings.tokens.tolist(), embeddings.n_rows.tolist(), strict=True))
    missing = {t: min(cap, n) - n_kept.get(t, 0) for t, n in n_predicted.items()}
    assert artifact.record.counts["missing_rows"] == sum(missing.values()) > 0
    assert artifact.record.counts["short_tokens"] == sum(m > 0 for m in missing.values())
    generous, *_ = _embeddings(miniature, tmp_path / "generous", max_occurrences=5, safety=1000.0)
    assert generous.record.counts["missing_rows"] == 0


def test_nan_states_are_refused_with_the_shard_s_name(miniature, tmp_path, monkeypatch):
    states = Decoder.states
    monkeypatch.setattr(Decoder, "states", lambda self, *ids: states(self, *ids) * float("nan"))
    with pytest.raises(DataError, match=r"Shard '\d+-of-\d+' .*nan"):
        _embeddings(miniature, tmp_path)


def _publish_together(
    config: PipelineConfig, corpus_uri: str, teacher_uri: str, ready: Path
) -> str:
    """Extract shard 0, waiting with the draft written until two processes are as far."""
    write = embeddings_store.write_shard

    def write_and_wait(*arguments):
        write(*arguments)
        (ready / str(os.getpid())).touch()
        for _ in range(10_000):
            if len(list(ready.iterdir())) == 2:
                return
            time.sleep(0.01)
        raise TimeoutError(ready)

    corpus, teacher = ArtifactStore.open(corpus_uri), ArtifactStore.open(teacher_uri)
    store, shard = ArtifactStore(config.root_uri), plan_shards(corpus, config.embeddings)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embeddings_store, "write_shard", write_and_wait)
        part = extract_shard(store, config.embeddings, config.teacher, teacher, corpus, shard)
    return f"{part.uri} {part.record.content}"


_WORKER = """
import sys
from pathlib import Path
import torch
from dskd_core.config import PipelineConfig
from tests.core.embeddings.test_store import _publish_together

torch.set_num_threads(1)
config = PipelineConfig.model_validate_json(sys.argv[1])
print(_publish_together(config, sys.argv[2], sys.argv[3], Path(sys.argv[4])))
"""


@pytest.mark.slow
def test_two_processes_that_publish_the_same_shard_at_once_do_no_harm(miniature, tmp_path):
    ready = tmp_path / "ready"
    ready.mkdir()
    config = miniature.config.model_copy(update={"root_uri": str(tmp_path / "artifacts")})
    places = (miniature.corpus().uri, miniature.teacher().uri)
    command = [sys.executable, "-c", _WORKER, config.model_dump_json(), *places, str(ready)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    own = _publish_together(config, *places, ready)
    assert other.communicate(timeout=200)[0].strip() == own
    assert other.returncode == 0
    (part,) = ArtifactStore(config.root_uri).of_stage("embeddings-shard")
    assert [folder.name for folder in Path(part.uri).parent.iterdir()] == [part.fingerprint]
    for name, entry in part.record.files.items():
        digest = hashlib.sha256(Path(part.uri, name).read_bytes()).hexdigest()
        assert digest == entry["sha256"]


class SlowStore(ArtifactStore):
    """A store in which a shard is being published until the next one is computed."""

    computed = threading.Event()
    published: ClassVar[list[str]] = []

    def _commit(self, uri, draft, hold):
        if uri.rsplit("/", 2)[1] == "embeddings-shard" and not self.published:
            assert self.computed.wait(60)
        super()._commit(uri, draft, hold)
        self.published.append(uri)


@pytest.mark.parametrize(
    "full", [False, True], ids=["all is well", "the disk of the first is full"]
)
def test_a_shard_is_written_while_the_next_one_is_computed(miniature, tmp_path, monkeypatch, full):
    config = miniature.config.embeddings.model_copy(update={"shard_tokens": 384})
    teacher, corpus = miniature.teacher(), miniature.corpus()
    first, second, *_ = plan_shards(corpus, config)
    monkeypatch.setattr(SlowStore, "computed", threading.Event())
    monkeypatch.setattr(SlowStore, "published", [])
    if full:
        monkeypatch.setattr(SlowStore, "published", ["none is waited for"])
        monkeypatch.setattr(
            embeddings_store, "write_shard", _fill_once(embeddings_store.write_shard)
        )
    held = []

    @contextmanager
    def slot():
        held.append(threading.current_thread().name)
        yield
        held.remove(threading.current_thread().name)

    def extract(store, shard, progress=silent):
        with slot_on_device(slot):
            return extract_shard(
                *(store, config, miniature.config.teacher, teacher, corpus, shard),
                progress=progress,
            )

    def compute(n_done, n_total, unit):
        assert len(held) == 1
        if n_done == n_total:
            SlowStore.computed.set()

    slow, alone = SlowStore(str(tmp_path / "beside")), ArtifactStore(str(tmp_path / "alone"))
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(extract, slow, first)
        while not held and not one.done():
            time.sleep(0.001)
        other = pool.submit(extract, slow, second, compute)
        if full:
            with pytest.raises(OSError, match="No space"):
                one.result(60)
        else:
            assert one.result(60).record.files == extract(alone, first).record.files
        assert other.result(60).record.files == extract(alone, second).record.files
    assert held == []
    assert list((tmp_path / "beside/embeddings-shard").glob(".partial-*")) == []


def _fill_once(write):
    """Return a writer whose disk is full, the first time."""
    full = [OSError(errno.ENOSPC, "No space left on device")]

    def fail(*args):
        if full:
            raise full.pop()
        write(*args)

    return fail


def test_a_shard_records_which_16_bits_its_states_are(miniature, tmp_path):
    changes = {"key": "next", "max_occurrences": 3, "state_dtype": "bfloat16"}
    _, embeddings, _ = _embeddings(miniature, tmp_path, **changes)
    for shard in embeddings.shards:
        group = shard.group("part.zarr")
        assert group.attrs["dtype"] == "bfloat16"
        assert group["states"].dtype == np.uint16


def test_states_of_8_bits_come_back_within_half_a_step_of_their_row(miniature, tmp_path):
    _, exact, _ = _embeddings(miniature, tmp_path / "exact", state_dtype="float32")
    artifact, embeddings, _ = _embeddings(miniature, tmp_path, state_dtype="int8")
    rows, wanted = (e.read(0, len(e.tokens)) for e in (embeddings, exact))
    assert np.array_equal(rows.positions, wanted.positions)
    assert wanted.states.shape[1] <= 64, "one group"
    steps = np.abs(wanted.states).max(axis=1, keepdims=True) / 127
    assert (np.abs(rows.states - wanted.states) <= 0.57 * steps).all()  # scales are float16
    assert np.abs(rows.states - wanted.states).max() > 0.0
    for shard in embeddings.shards:
        assert shard.group("part.zarr")["states"].dtype == np.int8
        assert verify(shard.uri, alone=True).problems == []
    assert artifact.group("index.zarr").attrs["dtype"] == "int8"


def test_a_row_of_zeros_is_kept_in_8_bits_and_one_with_a_nan_refused():
    steps, scales = quantise_states(torch.tensor([[0.0, 0.0], [-127.0, 63.6]]))
    assert (steps.tolist(), scales.tolist()) == ([[0, 0], [-127, 64]], [[0.0], [1.0]])
    assert dequantise_states(steps, scales).tolist() == [[0.0, 0.0], [-127.0, 64.0]]
    with pytest.raises(DataError, match=r"Shard '0-of-1' has a state that is nan"):
        quantise_states(torch.tensor([[torch.nan]]), "0-of-1")


def test_a_large_value_costs_the_other_groups_of_its_row_nothing():
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(5, 100, generator=generator)
    states[:, 70] = 1000.0
    found = dequantise_states(*quantise_states(states))
    off = np.abs(found - states.numpy())
    assert found.shape == (5, 100)
    assert off[:, :64].max() <= 0.57 * states[:, :64].abs().max().item() / 127
    assert off[:, 64:].max() > 1.0


def test_heldout_documents_are_never_embedded(miniature, tmp_path):
    _, embeddings, _ = _embeddings(miniature, tmp_path)
    heldout = miniature.corpus().table("documents.parquet").to_pylist()
    names = {row["document"] for row in heldout if row["heldout"]}
    rows = embeddings.read(0, len(embeddings.tokens))
    assert names
    assert not names & set(rows.documents.tolist())


def test_a_finished_shard_is_found_and_not_computed_again(miniature, tmp_path, monkeypatch):
    _embeddings(miniature, tmp_path)
    monkeypatch.setattr("dskd_core.embeddings.store.load_teacher", lambda *_: pytest.fail("ran"))
    _embeddings(miniature, tmp_path)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_stored_states_come_back_exactly(dtype):
    states = torch.tensor([[1.5, -59.0], [0.0, 2.0**-10]])
    assert decode_states(encode_states(states, dtype), dtype).tolist() == states.tolist()


def test_a_state_too_large_for_float16_is_refused_with_its_size():
    with pytest.raises(DataError, match=r"70000.*bfloat16"):
        encode_states(torch.tensor([[70000.0]]), "float16", "3-of-4")


def test_a_nan_state_is_refused():
    with pytest.raises(DataError, match="nan"):
        encode_states(torch.tensor([[float("nan")]]), "float32", "0-of-1")


def test_embeddings_whose_part_is_gone_say_so(miniature, tmp_path):
    artifact, embeddings, _ = _embeddings(miniature, tmp_path)
    store = ArtifactStore(str(tmp_path))
    store.discard(embeddings.shards[0])
    with pytest.raises(ArtifactError, match="run the stage first"):
        load_embeddings(artifact, store)


def test_settings_that_only_cut_the_work_do_not_change_the_address():
    dumps = [
        EmbeddingsConfig(shard_tokens=n).model_dump(exclude={"shard_tokens"}) for n in (100, 200)
    ]
    assert dumps[0] == dumps[1]
