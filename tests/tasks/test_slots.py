"""How many shards are out at once."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from prefect.states import Completed, Failed

from tasks import benchmarks, evaluation, sense_scores, shards, training, whole
from tasks.policy import needs_gpu
from tasks.precision import precision
from tasks.sharded import TASKS
from tasks.shards import ShardError, gathered, in_slots


@dataclass
class Future:
    """A task that ends when somebody waits for it."""

    name: str
    out: list[str]
    error: Exception | None = None
    lost: bool = False
    ended: bool = False

    def wait(self):
        if not self.ended:
            self.ended = True
            self.out.remove(self.name)

    def result(self, raise_on_failure=True):
        self.wait()
        if self.error and (raise_on_failure or self.lost):
            raise self.error
        return self.error or f"uri of {self.name}"

    @property
    def state(self):
        return Failed() if self.error else Completed()


@dataclass
class Stage:
    """A task that notes how many of it are out when one is submitted."""

    out: list[str] = field(default_factory=list)
    n_out: list[int] = field(default_factory=list)

    def submit(self, name):
        self.out.append(name)
        self.n_out.append(len(self.out))
        return Future(name, self.out)


@pytest.mark.parametrize(
    ("n_slots", "n_out"),
    [(1, [1, 1, 1, 1, 1]), (2, [1, 2, 2, 2, 2]), (3, [1, 2, 3, 3, 3]), (None, [1, 2, 3, 4, 5])],
)
def test_as_many_are_out_as_there_are_slots_and_results_keep_their_order(
    monkeypatch, n_slots, n_out
):
    context = SimpleNamespace(task_runner=SimpleNamespace(n_slots=n_slots))
    monkeypatch.setattr(shards.FlowRunContext, "get", lambda: context)
    stage, names = Stage(), list("abcde")
    found = in_slots("embeddings", stage, {name: (name,) for name in names})
    assert stage.n_out == n_out
    assert found == [f"uri of {name}" for name in names]


def test_one_more_is_out_on_one_slot_where_shards_are_written_beside_the_next(monkeypatch):
    for n_slots, n_out in ((1, [1, 2, 2, 2]), (3, [1, 2, 3, 3]), (None, [1, 2, 3, 4])):
        context = SimpleNamespace(task_runner=SimpleNamespace(n_slots=n_slots))
        monkeypatch.setattr(shards.FlowRunContext, "get", lambda: context)  # noqa: B023
        stage = Stage()
        in_slots("embeddings", stage, {name: (name,) for name in "abcd"}, writes_beside=True)
        assert stage.n_out == n_out


def test_a_task_runner_that_knows_no_slots_has_one(monkeypatch):
    context = SimpleNamespace(task_runner=object())
    monkeypatch.setattr(shards.FlowRunContext, "get", lambda: context)
    stage = Stage()
    in_slots("embeddings", stage, {name: (name,) for name in "abc"})
    assert stage.n_out == [1, 1, 1]


def test_a_task_that_the_cluster_lost_is_named_and_the_others_are_waited_for(monkeypatch):
    monkeypatch.setattr(shards, "show_outcomes", lambda *_, **__: None)
    out = list("abc")
    futures = {name: Future(name, out) for name in "abc"}
    futures["b"].error, futures["b"].lost = RuntimeError("3 workers died"), True
    with pytest.raises(ShardError, match=r"1 of 3 embeddings .*b .RuntimeError: 3 workers died"):
        gathered("embeddings", futures)
    assert out == []


@pytest.mark.parametrize(
    "task",
    [
        precision,
        whole.teacher,
        training.untrained,
        training.step_memory,
        training.student,
        evaluation.scores,
        evaluation.other_scores,
        evaluation.continuations,
        sense_scores.score,
        benchmarks.score,
        *(stage.make for stage in TASKS.values()),
    ],
    ids=lambda task: task.name,
)
def test_what_runs_a_model_waits_on_a_cluster_for_a_worker_with_a_gpu(task):
    assert needs_gpu(task)


@pytest.mark.parametrize("task", [whole.corpus, whole.dictionary, training.candidates])
def test_what_runs_no_model_goes_to_any_worker(task):
    assert not needs_gpu(task)
