"""Every value of every setting is bounded: as its model takes it, and as the form shows it."""

import inspect
import itertools
import math
import time
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from dskd_core import config as settings
from dskd_core.config import TrainingConfig, load_config, parse_config
from dskd_core.config.settings import Settings
from dskd_core.config.size import read_yaml
from dskd_core.errors import ConfigError, shown
from flows.sweep import sweep
from flows.tidy import tidy

LIMITS = {  # of tokens, bytes and items: a value that nothing reaches means no limit
    "max_tokens",
    "max_train_tokens",
    "max_heldout_tokens",
    "max_bytes",
    "max_activation_bytes",
    "batch_bytes",
}
NO_NUMBERS = [math.inf, -math.inf, math.nan, 10**20, -1e300, True, "9" * 5000, 10**5000, "１２"]
MODELS = [
    model
    for name in settings.__all__
    if isinstance(model := getattr(settings, name), type) and issubclass(model, Settings)
]


def flow_schema(flow, name):
    """Return what the form knows of a flow's parameter."""
    annotation = inspect.signature(flow.fn).parameters[name].annotation
    return TypeAdapter(annotation).json_schema()


FORMS = [
    (f"{model.__name__}.{name}", field)
    for model in MODELS
    for name, field in model.model_json_schema()["properties"].items()
] + [
    ("sweep.grid", flow_schema(sweep, "grid")),
    ("tidy.older_than_hours", flow_schema(tidy, "older_than_hours")),
]


def unbounded(schema, name):
    """Yield what of a form's member has no bound; references are models of their own."""
    kind = schema.get("type")
    if "enum" in schema or "const" in schema or "$ref" in schema or schema.get("format") == "date":
        return
    if kind in {"integer", "number"}:
        if not {"minimum", "exclusiveMinimum"} & schema.keys():
            yield f"{name}: no least value"
        most = schema.get("maximum", schema.get("exclusiveMaximum", math.inf))
        limit = 1e16 if name.partition(".")[2] in LIMITS else 1e12
        if most > limit:
            yield f"{name}: no greatest value below {limit:g}, but {most}"
    elif kind == "string" and "maxLength" not in schema:
        yield f"{name}: no greatest length of a text"
    elif kind == "array" and "maxItems" not in schema:
        yield f"{name}: no greatest length of a list"
    elif kind == "object" and not {"maxProperties", "propertyNames"} & schema.keys():
        yield f"{name}: no greatest number of keys"
    for member in schema.get("anyOf", []):  # a number's bounds stand beside the kinds of values
        beside = {key: value for key, value in schema.items() if "imum" in key.lower()}
        yield from unbounded(beside | member, name)
    if isinstance(schema.get("items"), dict) and not name.startswith("sweep.grid"):
        yield from unbounded(schema["items"], name)
    if isinstance(schema.get("additionalProperties"), dict):
        yield from unbounded(schema["additionalProperties"], name)


def test_every_value_of_every_form_has_bounds_on_both_sides():
    assert len(MODELS) > 12
    assert len(FORMS) > 100
    assert [told for name, schema in FORMS for told in unbounded(schema, name)] == []


def test_the_form_takes_nothing_that_is_no_number():
    """JSON of Python's may say NaN, which is neither below a minimum nor above a maximum."""
    seen = 0
    for name, schema in FORMS:
        kinds = {member.get("type") for member in (schema, *schema.get("anyOf", []))}
        if {"integer", "number"} & kinds:
            form = Draft202012Validator(schema)
            [error] = form.iter_errors(math.nan)
            assert error.message in {
                "'a finite number' was expected",
                "nan is not of type 'integer'",
            } or ("is not valid under" in error.message), name
            assert form.is_valid(schema.get("maximum", schema.get("default"))), name
            seen += 1
    assert seen > 50


def test_the_walk_finds_what_has_no_bound():
    assert list(unbounded({"anyOf": [{"type": "integer", "minimum": 1}]}, "A.b"))
    assert list(unbounded({"type": "number", "exclusiveMinimum": 0}, "A.b"))
    assert list(unbounded({"type": "array", "maxItems": 3, "items": {"type": "string"}}, "A.b"))


def numbers():
    for model in MODELS:
        for name, schema in model.model_json_schema()["properties"].items():
            members = [schema, *schema.get("anyOf", [])]
            members += [m["items"] for m in members if isinstance(m.get("items"), dict)]
            if any(m.get("type") in {"integer", "number"} for m in members):
                is_list = any(m.get("type") == "array" for m in members)
                yield model, name, is_list


def test_no_number_of_any_setting_is_infinite_gigantic_or_a_flag():
    seen = 0
    for model, name, is_list in numbers():
        for value in NO_NUMBERS:
            with pytest.raises(ValidationError) as refused:
                model.model_validate({name: [value] if is_list else value})
            assert name in {error["loc"][0] for error in refused.value.errors()}, (name, value)
            seen += 1
        if name not in LIMITS:
            with pytest.raises(ValidationError):
                model.model_validate({name: [10**12] if is_list else 10**12})
    assert seen > 300


@pytest.mark.parametrize("value", [math.inf, math.nan, 0.5, -1, 1e9, "1" * 5000])
def test_the_hours_of_tidy_are_bounded(value):
    with pytest.raises(ValidationError):
        TypeAdapter(
            inspect.signature(tidy.fn).parameters["older_than_hours"].annotation
        ).validate_python(value)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"senses": {"n_restarts": 10**6}}, r"n_restarts=1000000: .*less than or equal to 1000\b"),
        ({"training": {"n_epochs": 1e300}}, r"n_epochs=1e\+300: .*100000"),
        ({"training": {"n_accumulated": 10**12}}, r"n_accumulated=1000000000000: "),
        ({"training": {"n_candidates": 10**5000}}, r"=<a whole number of 5001 digits>: "),
        ({"training": {"n_epochs": "1" * 5000}}, r"n_epochs='1{30,}\.\.\.1+': .*finite"),
        ({"training": {"margin": math.inf}}, r"margin.*=inf: .*finite"),
        ({"training": {"n_ranks": True}}, r"n_ranks: true and false are no values"),
        ({"training": {"n_ranks": 2, "n_accumulated": 5}}, r"n_ranks 2 times n_accumulated 5 are"),
        ({"teacher": {"device": "meta"}}, r"device='meta' is no device that computes; give auto"),
        ({"senses": {"device": "cuda:" + "1" * 21}}, r"device='cuda:1+': .*at most 16"),
        ({"evaluation": {"seeds": list(range(2000))}}, r"seeds=\[0, 1, .*at most 1000 items"),
        ({"lexicon": {"excluded_tags": ["x" * 300]}}, r"at most 256 characters"),
        ({"x": {f"k{i}": i for i in range(20_000)}}, r"more than 20,000 values; leave out"),
        ({f"k{i}": i for i in range(300)}, r"k9=9: .*; and 290 more\. Correct"),
    ],
)
def test_a_value_beyond_its_bound_is_refused_in_a_short_sentence(values, told):
    with pytest.raises(ConfigError, match=told) as refused:
        parse_config(values, "my.yaml")
    assert len(str(refused.value)) < 1200


def test_negative_zero_is_zero_so_that_the_artifacts_have_one_address():
    assert str(TrainingConfig(weight_decay=-0.0).weight_decay) == "0.0"


def bomb(line):
    names = "abcdefghi"
    pairs = itertools.pairwise(names)
    later = [line.format(name=new, before=",".join([f"*{old}"] * 9)) for old, new in pairs]
    return "\n".join(["a: &a {x: 1}", *later])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (bomb("{name}: &{name} [{before}]"), r"more than 20,000 values .*written out; leave"),
        (bomb("{name}: &{name} {{<<: [{before}]}}"), r"more than 20,000 values"),
        ("a: &a [*a]", r"more than 20,000 values"),
        ("[" * 100, r"or 32 levels"),
        ("a: " + "9" * 5000, r"a text of 5,000 characters, more than 4,096; shorten"),
        ("a: 0x" + "F" * 4000, r"a=<a whole number of 4817 digits>: "),
        ("a: 1" + ":59" * 1300 + ".5", r"holds a value that cannot be read .*; correct it"),
        ("a: 2024-99-99", r"holds a value that cannot be read .month"),
        ("x: " + "a" * 300_000, r"more than the 262,144 of a parameter file"),
        ("[]", r"config=\[\]"),
    ],
)
def test_a_parameter_file_that_stands_for_too_much_is_refused_at_once(tmp_path, text, told):
    path = Path(tmp_path, "p.yaml")
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(ConfigError, match=told) as refused:
        load_config(path)
    assert time.process_time() - started < 5.0
    assert str(refused.value).startswith(str(path))
    assert len(str(refused.value)) < 1200


def test_a_name_for_a_value_above_is_still_read(tmp_path):
    path = Path(tmp_path, "p.yaml")
    path.write_text("senses: {n_senses: &n 7, max_senses: *n}")
    assert load_config(path).senses.max_senses == 7


def test_a_value_is_shown_in_eighty_characters_without_building_its_text():
    shared = ["x"] * 10
    for _ in range(30):  # 10^31 values
        shared = [shared] * 10
    assert len(shown(shared)) <= 80
    assert len(shown(dict.fromkeys(range(1000), shared))) <= 80
    assert shown(10**5000) == "<a whole number of 5001 digits>"
    assert shown("plain") == "'plain'"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "training: {n_candidates: 1:30}\n",
            "'1:30' in line 1 is a number to another base than ten",
        ),
        ("training: {n_candidates: 010}\n", "'010' in line 1 is a number to another base than ten"),
    ],
)
def test_a_file_that_would_be_read_otherwise_than_it_stands_is_refused(tmp_path, text, told):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=told):
        load_config(path)


def test_a_key_of_a_merged_mapping_may_be_set_anew(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("student: &s {n_layers: 3}\nroot_uri: a\n")
    assert load_config(path).student.n_layers == 3
    assert read_yaml(b"a: &a {x: 1, y: 2}\nb: {<<: *a, x: 0.5}\n")["b"] == {"x": 0.5, "y": 2}
