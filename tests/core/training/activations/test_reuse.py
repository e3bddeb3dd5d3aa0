"""One teacher pass for embeddings and activations: what is reused, and what it changes."""

import dataclasses

import numpy as np
import pytest
import torch

from dskd_core.corpus.store import load_windows
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.extraction import extract, training_batches
from dskd_core.embeddings.readers import load_embeddings
from dskd_core.embeddings.store import collect_embeddings, extract_shard, plan_shards
from dskd_core.embeddings.teacher import Teacher, load_teacher
from dskd_core.errors import ArtifactError
from dskd_core.progress import silent
from dskd_core.store.arrays import get_array
from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.training.activations.layout import PART, write_part
from dskd_core.training.activations.reuse import CapturedStates, captured_states
from dskd_core.training.activations.store import capture_shard, capture_shards, collect_activations
from tests.core.training.activations.test_layout import WINDOWS, captured

BUDGET = 200


@pytest.fixture(scope="module")
def activations(miniature, tmp_path_factory):
    """Give activations of some of the miniature's windows, and the store they stand in."""
    store = ArtifactStore(str(tmp_path_factory.mktemp("captured")))
    return store, capture(miniature, store, max_train_tokens=BUDGET)


def capture(built, store, **changes):
    config = built.config.training.model_copy(update=changes)
    untrained, text = built.untrained(), built.corpus()
    parts = [
        capture_shard(
            *(store, config, built.config.teacher, built.teacher(), untrained, text),
            *("cached", shard),
        )
        for shard in capture_shards(text, config, "cached")
    ]
    return collect_activations(store, config, untrained, text, "cached", parts)


def known_of(built, activations):
    return captured_states(*activations, built.teacher(), built.corpus())


def embed(built, root, known, **changes):
    config = built.config.embeddings.model_copy(update={"shard_tokens": 10_000} | changes)
    store, teacher, corpus = ArtifactStore(str(root)), built.teacher(), built.corpus()
    parts = [
        extract_shard(store, config, built.config.teacher, teacher, corpus, shard, known=known)
        for shard in reversed(plan_shards(corpus, config, known))
    ]
    artifact = collect_embeddings(store, config, teacher, corpus, parts, known=known)
    reader = load_embeddings(artifact, store)
    return artifact, reader.read(0, len(reader.tokens))


def part_of(store, *windows: int, d: int = 3, dtype: str = "bfloat16", **changes):
    """Publish an activations shard of windows of test_parts.py."""
    with store.publish(Work("activations-shard", {"of": str((windows, changes))}, {})) as draft:
        pieces = [dataclasses.replace(captured(window, d), **changes) for window in windows]
        write_part(draft.write_group(PART), WINDOWS, pieces, dtype)
    return store.of_stage("activations-shard")[-1]


def test_states_come_back_by_window_and_position_in_the_dtype_of_the_teacher(tmp_path):
    store = ArtifactStore(str(tmp_path))
    known = CapturedStates([part_of(store, 2), part_of(store, 0, 1)])
    assert sorted(known.windows.tolist()) == [0, 1, 2]
    for window, positions in ((0, slice(1, 3)), (1, slice(0, 2)), (2, slice(0, 1))):
        states, tokens = known.read(window, positions)
        whole = captured(window)
        assert states.dtype == torch.bfloat16
        assert states.float().tolist() == whole.states[positions].tolist()
        assert tokens.tolist() == whole.predicted[positions].tolist()


def test_the_fingerprint_is_of_states_and_predictions_and_of_nothing_else(tmp_path):
    def fingerprint(name, **changes):
        return CapturedStates(
            [part_of(ArtifactStore(str(tmp_path / name)), 0, **changes)]
        ).fingerprint

    whole = captured(0)
    plain = fingerprint("plain")
    others = {"entering": whole.entering + 1, "expected": whole.expected + 1}
    assert fingerprint("student", **others, entropy=whole.entropy + 1) == plain
    assert fingerprint("states", states=whole.states + 1) != plain
    assert fingerprint("tokens", predicted=whole.predicted + 1) != plain


@pytest.mark.parametrize("key", ["predicted", "next", "input"])
def test_what_was_captured_is_not_run_again_and_the_rows_are_those_of_the_ordinary_run(
    miniature, activations, tmp_path, monkeypatch, key
):
    """float32: a window's states hardly depend on the batch it was run in."""
    settings = {"key": key, "max_occurrences": 4, "safety": 100.0, "reuse_activations": True}
    ordinary, expected = embed(miniature, tmp_path / "ordinary", None, **settings)
    known, windows = known_of(miniature, activations), load_windows(miniature.corpus())
    n_run, states = [], Teacher.states

    def counting(teacher, token_ids):
        n_run.append(len(token_ids))
        return states(teacher, token_ids)

    monkeypatch.setattr(Teacher, "states", counting)
    artifact, rows = embed(miniature, tmp_path / "reused", known, **settings)

    lengths = take_census(windows, miniature.config.embeddings.model_copy(update=settings)).lengths
    reused = lengths[known.windows].sum()
    assert 0 < reused < lengths.sum()
    assert artifact.record.counts == ordinary.record.counts | {"reused_positions": reused}
    assert sum(n_run) == (lengths > 0).sum() - (lengths[known.windows] > 0).sum()
    for name in ("tokens", "offsets", "documents", "positions"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(expected, name))
    np.testing.assert_allclose(rows.states, expected.states, atol=1e-5)
    assert artifact.fingerprint != ordinary.fingerprint
    assert artifact.record.config == ordinary.record.config, "the setting is told by the inputs"
    assert artifact.record.inputs == ordinary.record.inputs | {"final-states": known.fingerprint}
    assert set(ordinary.record.inputs) == {"teacher", "corpus"}


def test_a_reused_row_has_the_bits_that_training_reads(miniature, activations, tmp_path):
    store, _ = activations
    known, windows = known_of(miniature, activations), load_windows(miniature.corpus())
    _, rows = embed(miniature, tmp_path, known, max_occurrences=10_000)
    found = {
        (int(document), int(position)): state
        for document, position, state in zip(
            rows.documents, rows.positions, rows.states, strict=True
        )
    }
    n_compared = 0
    for part in store.of_stage("activations-shard"):
        group = part.group(PART)
        numbers, offsets, states = (get_array(group, n) for n in ("windows", "offsets", "states"))
        for number, start, stop in zip(numbers, offsets[:-1], offsets[1:], strict=True):
            for t, state in enumerate(states[start:stop], start=int(windows.starts[number])):
                place = int(windows.documents[number]), t
                assert windows.heldout[number] == (place not in found)
                if place in found:
                    assert found[place].tobytes() == state.tobytes()
                    n_compared += 1
    assert n_compared > BUDGET / 2


def test_any_number_of_shards_in_any_order_gives_the_same_bits(miniature, activations, tmp_path):
    known, made = known_of(miniature, activations), []
    for number, shard_tokens in enumerate((10_000, 300)):
        changes = {"shard_tokens": shard_tokens, "max_occurrences": 5}
        made.append(embed(miniature, tmp_path / str(number), known, **changes))
    assert [artifact.record.counts["parts"] for artifact, _ in made] == [1, 4]
    assert len({artifact.fingerprint for artifact, _ in made}) == 1
    assert len({artifact.record.content for artifact, _ in made}) == 1
    assert len({rows.states.tobytes() for _, rows in made}) == 1


def test_another_student_and_temperature_leave_the_embeddings_where_they_are(
    miniature, activations, tmp_path
):
    student = miniature.config.student.model_copy(update={"n_trainable_layers": 1})
    other = type(miniature)(miniature.config.model_copy(update={"student": student}))
    store = ArtifactStore(str(tmp_path))
    again = capture(other, store, max_train_tokens=BUDGET, temperature=3.0)
    assert again.fingerprint != activations[1].fingerprint
    one, two = known_of(miniature, activations), known_of(other, (store, again))
    assert one.fingerprint == two.fingerprint
    fewer = capture(other, store, max_train_tokens=BUDGET // 2)
    assert known_of(other, (store, fewer)).fingerprint != one.fingerprint


def test_the_prefix_of_a_window_is_passed_over(miniature):
    """The miniature has none; its windows are given one here, in both ways."""
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    windows = dataclasses.replace(load_windows(miniature.corpus()), prefix=(1, 5))
    config = miniature.config.embeddings.model_copy(update={"key": "next", "max_occurrences": 2})
    census = take_census(windows, config)
    members = np.flatnonzero(census.lengths)[::2]

    class Run:
        fingerprint = ""

        def __init__(self):
            self.windows = members

        def read(self, window, positions):
            ids = [*windows.prefix, *windows.window(window).tolist()]
            with torch.no_grad():
                states = teacher.states(torch.tensor([ids]))[0]
            return states[positions], teacher.predictions(states).numpy()[positions]

    def extracted(known):
        batches = training_batches(windows, census, config, known)
        states, of, met = extract(
            *(teacher, windows, census, batches, config, frozenset(), silent), known=known
        )
        order = np.lexsort((of.positions, of.documents))
        return states[torch.from_numpy(order)], of[order], met

    (states, of, met), (expected, wanted, met_then) = extracted(Run()), extracted(None)
    np.testing.assert_array_equal(of.tokens, wanted.tokens)
    np.testing.assert_array_equal(met, met_then)
    torch.testing.assert_close(states, expected, atol=1e-5, rtol=0)


def test_activations_of_another_teacher_or_text_are_refused(miniature, activations):
    store, artifact = activations
    teacher, corpus = miniature.teacher(), miniature.corpus()
    with pytest.raises(ArtifactError, match=r"from the text .* not from teacher .*capture them"):
        captured_states(store, artifact, teacher, teacher)
    with pytest.raises(ArtifactError, match=r"from the teacher .* not from corpus"):
        captured_states(store, artifact, corpus, corpus)
