"""What is tried again."""

import pytest
from prefect.states import Failed

from dskd_core.errors import ArtifactError, CapacityError, ConfigError, DataError
from tasks import evaluation, training, whole
from tasks.policy import RETRY_DELAYS_SECONDS, retry_condition
from tasks.sharded import TASKS

ALL = [
    whole.corpus,
    whole.dictionary,
    whole.teacher,
    evaluation.scores,
    evaluation.other_text,
    evaluation.other_scores,
    evaluation.continuations,
    evaluation.report,
    whole.lexicon,
    whole.relations,
    training.untrained,
    training.candidates,
    training.precomputed,
    training.student,
    training.push,
    whole.questions,
    evaluation.sweep,
    whole.words,
    *(task for stage in TASKS.values() for task in (stage.make, stage.collect)),
]


@pytest.mark.parametrize("refusal", [ArtifactError, CapacityError, ConfigError, DataError])
def test_a_refusal_is_never_retried(refusal):
    assert not retry_condition(whole.corpus, None, Failed(data=refusal("k is 0; raise it.")))


@pytest.mark.parametrize(
    "bug", [TypeError, AttributeError, ImportError, NameError, KeyError, ZeroDivisionError]
)
def test_a_bug_is_never_retried(bug):
    assert not retry_condition(whole.corpus, None, Failed(data=bug("oops")))


@pytest.mark.parametrize(
    "fault",
    [OSError(28, "disk full"), ConnectionError(), TimeoutError(), RuntimeError("CUDA error")],
)
def test_what_the_world_does_is_retried(fault):
    assert retry_condition(whole.corpus, None, Failed(data=fault))


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.fn.__module__ + "." + task.fn.__name__)
def test_every_task_has_the_policy_and_no_cache_of_prefect(task):
    assert task.retries == len(RETRY_DELAYS_SECONDS) == 3
    assert list(task.retry_delay_seconds) == [5, 20, 60]
    assert task.retry_jitter_factor
    assert task.persist_result is False
    assert not task.tags  # each would cost a request that SQLite often refuses
