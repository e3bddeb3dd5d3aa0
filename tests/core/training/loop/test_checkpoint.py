"""Checkpoints of a tail of one linear layer."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from dskd_core.store.artifacts import ArtifactStore, Work
from dskd_core.training.loop import checkpoint
from dskd_core.training.loop.checkpoint import Best, Resumed

STUDENT = Work("student", {"arm": "paper"}, {})


@pytest.fixture
def store(tmp_path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


def fresh(value: float = 0.0):
    layers = nn.ModuleList([nn.Linear(2, 2)])
    nn.init.constant_(layers[0].weight, value)
    tail = SimpleNamespace(layers=layers, trained=lambda: dict(layers.named_parameters()))
    return tail, torch.optim.AdamW(layers.parameters(), lr=0.1)


def step(tail, optimizer) -> None:
    optimizer.zero_grad()
    tail.layers[0](torch.ones(1, 2)).square().sum().backward()
    optimizer.step()


def weights(tail) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in tail.layers.parameters()])


def steps_kept(store) -> list[int]:
    return sorted(a.record.config["step"] for a in store.of_stage("checkpoint"))


def test_a_resumed_run_takes_the_next_step_to_the_same_bits(store):
    tail, optimizer = fresh(0.5)
    for _ in range(3):
        step(tail, optimizer)
    checkpoint.save(store, STUDENT, 3, tail, optimizer, [{"ce": 1.0}])
    step(tail, optimizer)
    other, its = fresh()
    assert checkpoint.resume(store, STUDENT, other, its) == Resumed(3, [{"ce": 1.0}])
    step(other, its)
    assert torch.equal(weights(other), weights(tail))


def test_a_resumed_optimizer_is_all_where_the_weights_are(store):
    tail, optimizer = fresh(0.5)
    step(tail, optimizer)
    checkpoint.save(store, STUDENT, 1, tail, optimizer, [])
    other, _ = fresh()
    other.layers.to("meta")
    its = torch.optim.AdamW(other.layers.parameters(), lr=0.1)
    checkpoint.resume(store, STUDENT, other, its)
    devices = {value.device.type for state in its.state.values() for value in state.values()}
    assert devices == {"meta"}


def test_a_run_without_checkpoints_starts_at_the_beginning(store):
    tail, optimizer = fresh(0.5)
    before = weights(tail)
    assert checkpoint.resume(store, STUDENT, tail, optimizer) == Resumed(0, [])
    assert torch.equal(weights(tail), before)


@pytest.mark.parametrize(("n_kept", "kept"), [(1, [8]), (3, [4, 6, 8]), (9, [2, 4, 6, 8])])
def test_the_latest_checkpoints_stand(store, n_kept, kept):
    tail, optimizer = fresh(0.5)
    step(tail, optimizer)
    for number in (2, 4, 6, 8):
        checkpoint.save(store, STUDENT, number, tail, optimizer, [], n_kept=n_kept)
    assert steps_kept(store) == kept


def test_a_checkpoint_saved_twice_stands_once_beside_the_one_before(store):
    tail, optimizer = fresh(0.5)
    step(tail, optimizer)
    for number in (2, 4, 4):
        checkpoint.save(store, STUDENT, number, tail, optimizer, [], n_kept=2)
    assert steps_kept(store) == [2, 4]


def test_checkpoints_of_another_run_are_left_alone(store):
    tail, optimizer = fresh(0.5)
    step(tail, optimizer)
    other = Work("student", {"arm": "kd"}, {})
    checkpoint.save(store, other, 2, tail, optimizer, [])
    checkpoint.save(store, STUDENT, 4, tail, optimizer, [])
    assert steps_kept(store) == [2, 4]
    checkpoint.drop(store, STUDENT)
    assert steps_kept(store) == [2]


def test_the_best_weights_come_back_as_they_were_when_they_were_best(store):
    tail, optimizer = fresh(0.5)
    step(tail, optimizer)
    best = Best.from_tail(1, 2.5, tail)
    kept = weights(tail)
    step(tail, optimizer)
    checkpoint.save(store, STUDENT, 2, tail, optimizer, [], best=best)
    other, its = fresh()
    found = checkpoint.resume(store, STUDENT, other, its).best
    assert (found.step, found.ce) == (1, 2.5)
    assert torch.equal(torch.cat([w.reshape(-1) for w in found.weights.values()]), kept)
    assert torch.equal(weights(other), weights(tail))
    assert not torch.equal(weights(other), kept)
