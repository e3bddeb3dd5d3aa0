"""Order, parallel branches, retries and restarts, with a stand-in for the core."""

import pytest

from dskd_core.config import EvaluationConfig, OtherTextConfig
from dskd_core.errors import DataError
from flows.build_dictionary import build_dictionary
from flows.pipeline import pipeline
from flows.rebuild_lexicon import rebuild_lexicon
from tasks.sharded import TASKS
from tasks.shards import ShardError

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect_server")]

STAGES = [
    "teacher",
    "corpus",
    "embeddings",
    "senses",
    "lexicon",
    "relations",
    "words",
    "dictionary",
]


@pytest.fixture
def impatient(monkeypatch):
    """Retry at once."""
    monkeypatch.setattr(TASKS["embeddings"].make, "retry_delay_seconds", [0, 0, 0])
    monkeypatch.setattr(TASKS["embeddings"].make, "retry_jitter_factor", None)


@pytest.fixture
def small(config):
    evaluation = EvaluationConfig(arms=("kd", "paper"), seeds=(0, 1))
    return config.model_copy(update={"evaluation": evaluation})


def test_every_stage_runs_once_and_after_what_it_reads(core, small):
    made = pipeline(small)
    trained = ["untrained", "activations", "candidates", "students", "scores"]
    assert list(made.listed()) == [*STAGES, *trained, "continuations", "report"]
    assert len(made.students) == 4
    assert len(made.scores) == 5, "four students and the teacher"
    twice = {name for name in core.calls if core.calls.count(name) > 1 and "scores" not in name}
    first = {"teacher", "untrained-student", "corpus"}
    assert twice == first, "made first, then found by what needs them"
    assert len(core.calls) == len(set(core.calls)) + 4 + 3, "scores share a name here"
    order = {call: place for place, call in enumerate(core.calls)}
    for before, after in [
        ("teacher", "corpus"),
        ("corpus", "embeddings 0-of-3"),
        ("embeddings 2-of-3", "embeddings"),
        ("embeddings", "senses 0-of-3"),
        ("lexicon", "relations"),
        ("relations", "words"),
        ("words", "dictionary"),
        ("senses", "dictionary"),
        ("dictionary", "activations 0-of-3"),
        ("untrained-student", "activations 0-of-3"),
        ("activations", "candidates"),
        ("candidates", "student kd 0"),
        ("student paper 1", "report"),
    ]:
        assert order[before] < order[after]


@pytest.mark.slow
def test_another_text_is_captured_like_the_corpus_and_every_subject_is_scored_on_it(core, small):
    news = OtherTextConfig(name="news", source="news.txt")
    evaluation = small.evaluation.model_copy(update={"other_texts": (news,), "seeds": (0,)})
    made = pipeline(small.model_copy(update={"evaluation": evaluation}))
    assert core.calls.count("other-text") == 1
    assert core.calls.count("activations 0-of-3") == 2, "of the corpus, and of the other text"
    assert len(made.other_scores) == 3, "two students and the teacher"
    order = {call: place for place, call in enumerate(core.calls)}
    assert order["untrained-student"] < order["other-text"] < order["other-scores"]
    assert order["other-scores"] < order["report"]


def test_a_second_run_makes_nothing(core, small):
    first = build_dictionary(small)
    core.made.clear()
    assert build_dictionary(small) == first
    assert core.made == []


def test_a_shard_that_fails_once_is_retried_alone(core, small, impatient):
    core.broken["embeddings 1-of-3"] = [OSError("connection reset")]
    build_dictionary(small)
    assert core.calls.count("embeddings 1-of-3") == 2
    assert core.calls.count("embeddings 0-of-3") == core.calls.count("embeddings 2-of-3") == 1


def test_a_refused_shard_is_not_retried_and_its_message_arrives_whole(core, small):
    core.broken["embeddings 1-of-3"] = [DataError("Window 3 is empty; rebuild the corpus.")] * 9
    with pytest.raises(DataError, match=r"Window 3 is empty; rebuild the corpus\."):
        build_dictionary(small)
    assert core.calls.count("embeddings 1-of-3") == 1


def test_a_shard_that_always_fails_is_named_after_the_others_are_done(core, small, impatient):
    core.broken["embeddings 0-of-3"] = [OSError("bad sector")] * 4
    with pytest.raises(ShardError, match=r"1 of 3 .*embeddings shard 0-of-3 .OSError: bad sector"):
        build_dictionary(small)
    assert core.calls.count("embeddings 0-of-3") == 4, "once and three retries"
    assert {"embeddings 1-of-3", "embeddings 2-of-3"} <= set(core.made)
    core.calls.clear()
    core.made.clear()
    build_dictionary(small)
    assert [m for m in core.made if m.startswith("embeddings ")] == ["embeddings 0-of-3"]


def test_the_lexicon_is_rebuilt_without_the_left_branch(core, small):
    made = rebuild_lexicon(small)
    assert list(made.listed()) == ["teacher", "lexicon", "relations", "words"]
    assert set(core.calls) == set(made.listed())
