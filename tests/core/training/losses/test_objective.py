import pytest

from dskd_core.config import TrainingConfig
from dskd_core.errors import ConfigError
from dskd_core.training.losses.recipes import Recipe, find_recipe, recipe_settings

MINE = [
    {"term": "kl", "temperature": 1.0},
    {"term": "state_cosine", "weight": 0.5, "schedule": "linear", "schedule_share": 0.5},
    {"term": "negative", "weight": 2.0, "margin": 3.0, "schedule": "first", "schedule_share": 0.2},
]


def weights(recipe: Recipe, done: float = 0.0) -> tuple[float, ...]:
    return tuple(recipe.weight(name, done) for name in ("positive", "negative", "state_mse"))


def test_kd_is_the_same_objective_with_both_sense_weights_zero():
    config = TrainingConfig(positive_weight=1.5, negative_weight=1.5)
    kd, dskd = (
        Recipe.from_config(config, "kd", 9.0),
        Recipe.from_config(config, "paper", 9.0),
    )
    assert weights(kd) == (0.0, 0.0, 0.0)
    assert weights(dskd) == (1.5, 1.5, 0.0)
    assert {(r.weight("ce"), r.weight("kl"), r.temperature) for r in (kd, dskd)} == {
        (1.0, 0.7, 2.0)
    }


def test_the_control_arm_pulls_to_the_teacher_s_state_instead():
    control = Recipe.from_config(TrainingConfig(), "kd_mse", 9.0)
    assert weights(control) == (0.0, 0.0, 1.0)


def test_a_calibrated_margin_is_the_one_that_was_measured():
    assert Recipe.from_config(TrainingConfig(margin="calibrated"), "paper", 3.25).margin == 3.25


def test_a_recipe_of_the_user_s_has_the_terms_it_lists_and_no_others():
    config = TrainingConfig(recipes=[{"name": "mine", "terms": MINE}], margin="calibrated")
    mine = Recipe.from_config(config, "mine", 9.0)
    assert (mine.temperature, mine.margin, mine.logged) == (1.0, 3.0, ("state_cosine",))
    assert [mine.weight(name) for name in ("ce", "kl", "state_mse", "positive")] == [0, 1, 0, 0]
    other = [{"term": "kl", "weight": 0.25}, {"term": "negative"}]
    unsaid = TrainingConfig(recipes=[{"name": "mine", "terms": other}], margin="calibrated")
    assert Recipe.from_config(unsaid, "mine", 9.0).margin == 9.0
    assert Recipe.from_config(unsaid, "mine", 9.0).temperature == 2.0
    assert find_recipe(config, "mine").has_sense_terms
    assert not find_recipe(config, "kd").has_sense_terms
    assert recipe_settings(config, "paper") == {}
    assert recipe_settings(config, "mine")["recipe"][0]["temperature"] == 1.0


def test_weights_fall_to_zero_or_count_in_the_first_steps_only():
    config = TrainingConfig(recipes=[{"name": "mine", "terms": MINE}])
    mine = Recipe.from_config(config, "mine", 0.0)
    shares = (0.0, 0.1, 0.2, 0.25, 0.5, 0.9)
    assert [mine.weight("state_cosine", s) for s in shares] == [0.5, 0.4, 0.3, 0.25, 0.0, 0.0]
    assert [mine.weight("negative", s) for s in shares] == [2.0, 2.0, 0.0, 0.0, 0.0, 0.0]
    assert {mine.weight("kl", s) for s in shares} == {1.0}


def test_a_recipe_takes_the_relations_it_names_as_controls_do():
    terms = [{"term": "ranking"}]
    mine = [{"name": "mine", "terms": terms}]
    other = [{"name": "other", "terms": terms, "relations": "shuffled"}]
    config = TrainingConfig(recipes=[*mine, *other])
    arms = ("kd", "paper", "paper_own", "paper_shuffled", "mine", "other")
    found = [find_recipe(config, arm).relations for arm in arms]
    assert found == ["dictionary", "dictionary", "own", "shuffled", "dictionary", "shuffled"]


def test_an_arm_that_is_no_recipe_is_refused():
    with pytest.raises(ConfigError, match=r"arm 'other' is no recipe; choose among kd, .*mine"):
        Recipe.from_config(TrainingConfig(recipes=[{"name": "mine", "terms": MINE}]), "other", 0.0)
