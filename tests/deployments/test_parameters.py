"""The parameter files hold the paper's numbers (arXiv:2602.22351)."""

from pathlib import Path

import pytest

from dskd_core.config import load_config

FOLDER = Path(__file__).parents[2] / "deployments/parameters"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_parameter_file_is_accepted(path):
    load_config(path)


@pytest.mark.parametrize(
    ("model", "k", "beta", "learning_rate"),
    [("llama3-8b", 10, 1.0, 1.5e-4), ("mistral-7b", 5, 1.5, 6e-5)],
)
def test_the_big_models_have_the_numbers_of_the_paper(model, k, beta, learning_rate):
    config = load_config(FOLDER / f"{model}.yaml")
    training = config.training
    assert config.embeddings.key == "predicted"
    assert config.embeddings.max_occurrences == 2000
    assert config.senses.n_senses == k
    assert config.senses.backend == "cuml"
    assert config.words.max_span == 3
    assert config.dictionary.max_synonyms == config.dictionary.max_antonyms == 25
    assert config.student.n_layers == 16
    assert config.student.n_trainable_layers == 2
    assert training.n_candidates == 5
    assert training.positive_weight == training.negative_weight == beta
    assert training.margin == 1.0
    assert training.temperature == 2.0
    assert training.kl_weight == 0.7
    assert training.kl_weight * training.temperature**2 == pytest.approx(2.8)
    assert training.learning_rate == learning_rate
    assert training.weight_decay == 1e-3
    assert training.warmup_share == 0.1
    assert training.n_epochs == 2
    assert training.compute_dtype == config.teacher.dtype == "bfloat16"
    assert training.related_share == 0.4
    assert training.min_related == 25


def test_the_sample_needs_no_download():
    config = load_config(FOLDER / "smollm2-135m.yaml")
    places = [config.teacher.source, config.corpus.source]
    places += [source.uri for source in (*config.lexicon.sources, *config.lexicon.morphology)]
    assert all(place.startswith("sample:") for place in places)


@pytest.mark.parametrize(("model", "piqa_tokens"), [("llama3-8b", 1), ("mistral-7b", 2)])
def test_the_big_models_train_on_the_prompts_of_the_paper(model, piqa_tokens):
    sources = {s.task: s for s in load_config(FOLDER / f"{model}.yaml").prompts.sources}
    assert list(sources) == ["arc", "commonsense_qa", "mmlu", "piqa", "squad"]
    squad = sources.pop("squad")
    assert {(s.share, s.n_exemplars, s.max_prompts) for s in sources.values()} == {(0.25, 5, None)}
    lengths = {"arc": 1, "commonsense_qa": 1, "mmlu": 1, "piqa": piqa_tokens}
    assert {task: s.answer_tokens for task, s in sources.items()} == lengths
    assert (squad.n_exemplars, squad.answer_tokens) == (1, 10)
    assert 0 < squad.share < 1
    assert all(s.uri.startswith("hf:") for s in (squad, *sources.values()))


def test_the_sample_trains_on_plain_text():
    assert not load_config(FOLDER / "smollm2-135m.yaml").prompts.sources
