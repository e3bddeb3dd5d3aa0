import json
import math

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from pydantic import ValidationError

from dskd_core import config
from dskd_core.config import PipelineConfig, load_config, parse_config
from dskd_core.errors import ConfigError
from flows.sweep import sweep


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"senses": {"n_sense": 7}}, r"senses\.n_sense=7"),
        ({"senses": {"n_senses": 0}}, r"senses\.n_senses=0"),
        (
            {"embeddings": {"key": "after"}},
            r"embeddings\.key='after'.*'predicted', 'next' or 'input'",
        ),
        ({"training": {"temperature": 0}}, r"training\.temperature=0"),
        ({"corpus": {"heldout_share": 0.9}}, r"corpus\.heldout_share=0\.9"),
        ({"corpus": {"window_tokens": 9000}}, r"batch_tokens 4096.*window_tokens 9000; raise"),
        (
            {"student": {"n_layers": 2, "n_trainable_layers": 4}},
            r"n_trainable_layers 4 exceeds student\.n_layers 2; lower",
        ),
        (
            {"student": {"trainable_layers": [3, 1]}},
            r"trainable_layers '?\[3, 1\]'? must name at least one layer, each once, ascending",
        ),
        ({"student": {"trainable_layers": "first"}}, r"trainable_layers.*'first'"),
        ({"corpus": {"heldout_share": 0}}, r"heldout_share 0\.0 leaves no text.*set it above 0"),
        ({"evaluation": {"arms": ["paper"]}}, r"lack 'kd'.*add it"),
        ({"evaluation": {"arms": ["kd", "mine"]}}, r"arms names .*mine.*add to training\.recipes"),
        *(
            ({"training": {"recipes": recipes}}, told)
            for recipes, told in [
                ([{"name": "kd", "terms": [{"term": "ce"}]}], r"name 'kd' is taken"),
                ([{"name": "mine", "terms": []}], r"at least one term with a weight"),
                ([{"name": "mine", "terms": [{"term": "ce"}] * 2}], r"each once"),
                ([{"name": "mine", "terms": [{"term": "ce"}]}] * 2, r"\['mine', 'mine'\] name one"),
                ([{"name": "mine", "terms": [{"term": "x"}]}], r"terms\.0\.term='x'"),
                (
                    [{"name": "mine", "terms": [{"term": "ce", "temperature": 1}]}],
                    r"temperature 1\.0 is given for the term 'ce', and only kl and ranking can",
                ),
                (
                    [{"name": "mine", "terms": [{"term": "kl", "schedule": "first"}]}],
                    r"schedule 'first' is given for the term 'kl'.*set it to constant",
                ),
            ]
        ),
        ({"evaluation": {"arms": ["kd", "kd"]}}, r"name one twice; name each once"),
        ({"evaluation": {"seeds": [3, 0, 3]}}, r"seeds name \[3\] more than once, .*; name each"),
        ({"lexicon": {"sources": []}}, r"sources is empty; name at least one"),
        ("text", r"config='text'"),
    ],
)
def test_a_refusal_shows_the_key_the_value_and_the_cure(values, shown):
    with pytest.raises(ConfigError, match=shown) as refusal:
        parse_config(values, "my.yaml")
    assert str(refusal.value).startswith("my.yaml is refused: ")
    assert "Correct these keys" in str(refusal.value)


@pytest.mark.parametrize(
    "values",
    [
        {"root_uri": "s3://AKIAEXAMPLE:wJalrXUtnFEMI@host/bucket"},
        {"teacher": {"source": "https://me:wJalrXUtnFEMI@hub/model"}},
        {"lexicon": {"sources": [{"kind": "moby", "uri": "ftp://me:wJalrXUtnFEMI@host/x"}]}},
        {"corpus": {"source": "hf:s3://KEY:wJalrXUtnFEMI@host"}},
        {"corpus": {"source": "hf:https://wJalrXUtnFEMI@host/data"}},
        {"corpus": {"source": "https://wJalrXUtnFEMI@host/data"}},
        {"teacher": {"source": "s3://me:wJal/rXUtnFEMI@host/model"}},
        {"teacher": {"revision": "ghp_wJalrXUtnFEMIwJalrXUtnFEMI"}},
        {"teacher": {"device": "https://wJalrXUtnFEMI@host"}},
        {"corpus": {"dataset_config": "github_pat_wJalrXUtnFEMI_wJalrXUtnFEMI"}},
        {"training": {"hub_repository": "me/hf_wJalrXUtnFEMIwJalrXUtnFEMI"}},
        {"lexicon": {"excluded_tags": ["obsolete", "s3://me:wJalrXUtnFEMI@host"]}},
        {"lexicon": {"language": "https://me:wJalrXUtnFEMI@host"}},
        {"lexicon": {"language": "https%253A%252F%252Fme%253AwJalrXUtnFEMI%2540host"}},
    ],
)
def test_credentials_in_a_place_are_refused_and_shown_by_nobody(values):
    with pytest.raises(ConfigError, match=r"carries credentials .*in the environment") as told:
        parse_config(values, "my.yaml")
    with pytest.raises(ValidationError) as plain:
        PipelineConfig.model_validate(values)
    assert "wJalrXUtnFEMI" not in f"{told.value} {plain.value}"


@pytest.mark.parametrize(
    ("stage", "name"),
    [("teacher", "revision"), ("corpus", "dataset_config"), ("training", "hub_repository")],
)
@pytest.mark.parametrize("value", ["me:wJalrXUtnFEMI", "wJalrXUtnFEMI@host", "a:b@wJalrXUtnFEMI"])
def test_a_name_on_the_hub_that_could_be_a_login_is_refused_and_not_shown(stage, name, value):
    with pytest.raises(ConfigError, match=rf"{stage}\.{name} has a ':' or an '@'") as told:
        parse_config({stage: {name: value}}, "my.yaml")
    assert "wJalrXUtnFEMI" not in str(told.value)
    assert stage in PipelineConfig.model_json_schema()["properties"]


@pytest.mark.parametrize(
    "values",
    [
        {"senses": {"n_senses": "s3://me:wJalrXUtnFEMI@host"}},
        {"senses": {"unknown": "s3://me:wJalrXUtnFEMI@host"}},
        {"s3://me:wJalrXUtnFEMI@host": 1},
        {"corpus": {"source": {"uri": "s3://me:wJalrXUtnFEMI@host"}}},
        {"teacher": "s3://me:wJalrXUtnFEMI@host"},
    ],
)
def test_credentials_in_the_wrong_place_are_shown_by_nobody(values):
    with pytest.raises(ConfigError, match=r"is refused") as told:
        parse_config(values, "my.yaml")
    assert "wJalrXUtnFEMI" not in str(told.value)


def is_text(schema):
    return schema.get("type") == "string" and not {"enum", "const", "format"} & schema.keys()


def texts(schema):
    """Yield what of a form takes a text; one that may be empty has its rules beside its kinds."""
    if isinstance(schema, dict):
        if is_text(schema) or any(is_text(kind) for kind in schema.get("anyOf", ())):
            yield schema
        else:
            for key, member in schema.items():
                yield from texts(member) if key not in {"if", "then", "else"} else ()
    elif isinstance(schema, list):
        for member in schema:
            yield from texts(member)


def refusals(schema, value):
    return [error.message for error in Draft202012Validator(schema).iter_errors(value)]


def test_every_text_of_the_form_refuses_credentials():
    found = [*texts(PipelineConfig.model_json_schema()), *texts(sweep.parameters.model_dump())]
    assert len(found) > 40
    for schema in found:
        assert any(refusals(schema, text) == [] for text in ("text-1.5_x", "cuda:7")), schema
        for secret in (
            *("s3://KEY:secret@host", "hf:s3://K:S@h", "https://T@h", "ghp_" + "a" * 36),
            *("https://b/x?X-Amz-Signature=ab", "x?sv=1&sig=ab", "x%3FSIG%3Dab", "sk-" + "a" * 30),
            *("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.a", "-----BEGIN PRIVATE KEY-----"),
        ):
            told = [one for one in refusals(schema, secret) if "is too long" not in one]
            [sentence] = told
            assert sentence.startswith('"a text without credentials; those belong in the'), schema
            assert secret not in sentence
        assert "half of a surrogate pair" in " ".join(refusals(schema, "a\ud800b")), schema


@pytest.mark.parametrize("bad", ["a\udfff", "s3://K:S@h"])
def test_the_form_of_a_sweep_looks_into_lists_and_names(bad):
    form = Draft202012Validator(sweep.parameters.properties["grid"])
    for grid in ({bad: [1]}, {"a": [bad]}, {"a": [[{"uri": bad}]]}, {"a": [{bad: 1}]}):
        assert not form.is_valid(grid), grid
    assert form.is_valid({"lexicon.sources": [[{"kind": "roget", "uri": "sample:roget"}]]})


@pytest.mark.parametrize(
    ("stage", "name", "value", "told"),
    [
        ("TeacherConfig", "device", "meta", "'auto, cpu, cuda, cuda:NUMBER, mps or xpu' was"),
        ("TeacherConfig", "revision", "a:b", "'a name as on the hub, without : and @' was"),
        ("CorpusConfig", "max_tokens", 0, "0 is less than the minimum of 1"),
        ("OtherTextConfig", "name", "a b", "'letters, digits and . + - _' was expected"),
        ("TermConfig", "margin", -1, "-1 is less than the minimum of 0.0"),
        ("TrainingConfig", "max_grad_norm", 1e9, "1000000000.0 is greater than the maximum of"),
        ("TrainingConfig", "max_grad_norm", math.nan, "'a finite number' was expected"),
    ],
)
def test_the_form_says_in_one_sentence_what_it_wants(stage, name, value, told):
    """Prefect's page shows every complaint of the schema in the schema's own words."""
    schema = PipelineConfig.model_json_schema()["$defs"][stage]["properties"][name]
    [sentence] = refusals(schema, value)
    assert sentence.startswith(told)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (["senses", "n_senses"], "SECRET", "'a whole number' was expected"),
        (["evaluation", "seeds"], "SECRET", "'a list' was expected"),
        (["evaluation", "seeds"], ["SECRET"], "'a whole number' was expected"),
        (["corpus", "source"], ["SECRET"], "'a text' was expected"),
        (["corpus", "source"], {"a": "SECRET"}, "'a text' was expected"),
        (["corpus", "max_tokens"], "SECRET", "'a whole number or nothing' was expected"),
        (["corpus", "format"], "SECRET", "'auto or mediawiki or jsonl or parquet or"),
        (["training", "margin"], "SECRET", "'calibrated or a number' was expected"),
        (["teacher", "trust_remote_code"], "SECRET", "'true or false' was expected"),
        (["senses"], "SECRET", "'settings by their names' was expected"),
        ([], ["SECRET"], "'settings by their names' was expected"),
        (["senses", "SECRET"], 1, "'no key but n_senses, choice"),
        (["SECRET"], {"x": 1}, "'no key but root_uri, teacher"),
        (["training", "recipes"], [{"name": "a", "SECRET": 1}], "'no key but name, terms"),
        (["training", "recipes"], ["SECRET"], "'settings by their names' was expected"),
    ],
)
def test_the_server_repeats_neither_an_unknown_key_nor_a_value_of_another_kind(place, value, told):
    """Prefect answers with the complaint that jsonschema finds best."""
    secret, form = "hf_" + "aB" * 17, PipelineConfig.model_json_schema()
    for name in reversed(place):
        value = {name: value}
    typed = json.loads(json.dumps(value).replace("SECRET", secret))
    sentence = best_match(Draft202012Validator(form).iter_errors(typed)).message
    assert sentence.startswith(told)
    assert secret not in sentence


def test_the_form_tells_bounds_and_offers_a_choice_of_one():
    training = PipelineConfig.model_json_schema()["$defs"]["TrainingConfig"]["properties"]
    assert training["n_ranks"]["description"].endswith(" From 1 to 1,024.")
    assert training["n_epochs"]["description"].endswith(" Above 0.0, at most 100,000.0.")
    assert {"enum": ["calibrated"], "type": "string"} in training["margin"]["anyOf"]
    assert "told" not in json.dumps(PipelineConfig.model_json_schema())


@pytest.mark.parametrize("place", ["hf:owner/data@v1", "/home/me@firm/x", "me@firm/x", "s3://b/x"])
def test_an_at_sign_that_is_no_login_is_taken(place):
    assert parse_config({"corpus": {"source": place}}, "x").corpus.source == place


@pytest.mark.parametrize(
    ("place", "is_taken"),
    [
        *(("hf:owner/data@v1", True), ("hf:data", True), ("hf", True), ("/process/x", True)),
        *(("hf:../../x", False), ("hf:/etc", False), ("hf:a/b/c", False), ("hf:", False)),
        *(("/proc/self/environ", False), ("/sys", False)),
    ],
)
def test_the_form_refuses_what_is_no_name_on_the_hub_or_is_the_system_s(place, is_taken):
    source = PipelineConfig.model_json_schema()["$defs"]["CorpusConfig"]["properties"]["source"]
    assert (refusals(source, place) == []) == is_taken


def test_every_refused_key_is_named_at_once():
    with pytest.raises(ConfigError, match=r"senses\.n_senses=0.*words\.max_span=99"):
        parse_config({"senses": {"n_senses": 0}, "words": {"max_span": 99}}, "x")


def test_a_parameter_file_is_read(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("senses: {n_senses: 10}\n")
    assert load_config(path).senses.n_senses == 10
    path.write_text("")
    assert load_config(path) == PipelineConfig()
    path.write_text("a: [")
    with pytest.raises(ConfigError, match=r"(?s)p\.yaml is not YAML .*correct the line"):
        load_config(path)


def test_a_parameter_file_that_cannot_be_read_is_one_sentence(tmp_path):
    for path, why in ((tmp_path / "p.yaml", "No such file"), (tmp_path, "Is a directory")):
        told = rf"{path} cannot be read \({why}.*\); name a parameter file"
        with pytest.raises(ConfigError, match=told):
            load_config(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "senses: {n_senses: 10}\nseed: 1\nsenses: {seed: 1}\n",
            "'senses' twice, in lines 1 and 3",
        ),
        ("root_uri: a\nroot_uri: b\n", "has 'root_uri' twice, in lines 1 and 2"),
        ("senses: {n_senses: 10, n_senses: 2}\n", "'n_senses' twice, in lines 1 and 1"),
    ],
)
def test_a_key_given_twice_is_refused_and_none_is_lost(tmp_path, text, told):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config(path)
    path.write_text("a: &a {n_senses: 10, seed: 3}\nsenses: {<<: *a, n_senses: 2}\n")
    with pytest.raises(ConfigError, match=r"a=.*Extra"):  # merging is no second key
        load_config(path)


def test_settings_cannot_be_changed_after_they_were_checked():
    with pytest.raises(ValidationError, match="frozen"):
        PipelineConfig().senses.n_senses = 3


def test_settings_survive_json():
    settings = PipelineConfig()
    assert PipelineConfig.model_validate_json(settings.model_dump_json()) == settings


def test_every_setting_has_a_help_text():
    stages = [getattr(config, name) for name in dir(config) if name.endswith("Config")]
    missing = [
        f"{stage.__name__}.{name}"
        for stage in stages
        for name, field in stage.model_fields.items()
        if not field.description and stage is not PipelineConfig
    ]
    assert missing == []


def test_the_recommended_recipe_is_listed_where_it_is_compared_and_cannot_be_another():
    compared = PipelineConfig.model_validate({"evaluation": {"arms": ["kd", "recommended"]}})
    assert [recipe.name for recipe in compared.training.recipes] == ["recommended"]
    assert compared.training.reads_gap
    assert not compared.training.ranks_synonyms
    assert compared.training.other_temperatures == ()
    again = PipelineConfig.model_validate(compared.model_dump(mode="json"))
    assert again == compared
    assert PipelineConfig().training.recipes == ()
    with pytest.raises(ConfigError, match=r"name 'recommended' is taken by what is built in"):
        parse_config(
            {"training": {"recipes": [{"name": "recommended", "terms": [{"term": "ce"}]}]}}, "mine"
        )


def test_parameter_files_may_call_the_paper_s_recipes_by_their_older_names():
    arms = ["kd", "dskd", "dskd_own", "dskd_shuffled", "dskd_no_hinge"]
    found = parse_config({"evaluation": {"arms": arms}}, "mine").evaluation.arms
    assert found == ("kd", "paper", "paper_own", "paper_shuffled", "paper_no_hinge")
    with pytest.raises(ConfigError, match="name one twice"):
        parse_config({"evaluation": {"arms": ["kd", "dskd", "paper"]}}, "mine")
