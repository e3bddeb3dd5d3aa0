"""What a hostile model folder is kept from: every file that is not its own."""

import inspect
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import transformers.models
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from dskd_core.decoder.model_files import (
    INDEX,
    VOCABULARIES,
    check_links,
    files_of,
    gguf_view,
    inside,
    model_view,
    weight_files,
)
from dskd_core.decoder.tokenizer import load_tokenizer
from dskd_core.errors import ConfigError
from tests.core.decoder import opened

SECRET = "hf_secretSECRETsecret"
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def tokenizer_classes():
    """Every class of a tokenizer in transformers whose optional packages are here."""
    classes = {}
    for package in pkgutil.iter_modules(transformers.models.__path__):
        for module in pkgutil.iter_modules([f"{transformers.models.__path__[0]}/{package.name}"]):
            if not module.name.startswith("tokenization_"):
                continue
            try:
                found = import_module(f"transformers.models.{package.name}.{module.name}")
            except (ImportError, NameError):  # sentencepiece is an extra
                continue
            for name, value in vars(found).items():
                is_class = inspect.isclass(value) and not name.startswith("_")
                if is_class and issubclass(value, PreTrainedTokenizerBase):
                    classes[name] = value
    return classes


def parameters(cls):
    """Names of all parameters of the constructors of a class and its bases."""
    names = set()
    for base in cls.__mro__:
        if "__init__" in vars(base):
            names |= {p.name for p in inspect.signature(base.__init__).parameters.values()}
    return names - {"self", "args", "kwargs"}


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "elsewhere" / "environ"
    path.parent.mkdir()
    path.write_text(f"HF_TOKEN={SECRET}\nAWS={SECRET}2\n")
    return path


def write(folder, *, tokenizer=None, model=None, like=None, **files):
    """Write a model folder; ``files`` are texts by name with ``__`` for the dot."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | (model or {})))
    if tokenizer is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    if like is not None:
        (folder / "tokenizer.json").write_bytes((Path(like) / "tokenizer.json").read_bytes())
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def loaded(cases, secret, own):
    """Load the folders in a process whose openings are watched; return what was seen of each."""
    task = {
        "secret": str(secret),
        "text": SECRET,
        "own": own,
        "cases": [case if isinstance(case, dict) else {"folder": str(case)} for case in cases],
    }
    done = subprocess.run(
        [sys.executable, opened.__file__],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "HF_HUB_OFFLINE": "1"},
    )
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == len(cases), done.stderr[-2000:]
    return found


def assert_nothing_elsewhere(found):
    for case in found:
        assert not case["elsewhere"], case
        assert not case["secret_opened"], case
        assert not case["leaks"], case


@pytest.mark.slow
def test_no_tokenizer_class_opens_what_a_key_names(miniature, secret, tmp_path):
    """Every parameter of every class, each on its own and all at once."""
    source, cases = miniature.config.teacher.source, []
    for name, cls in sorted(tokenizer_classes().items()):
        keys = sorted(parameters(cls) | {"vocab", "merges", "gguf_file"})
        place, kind = tmp_path / "models" / name, {"tokenizer_class": name}
        tokens = {key: str(secret) for key in keys if key.endswith("_token")}
        cases.append(write(place / "tokens", tokenizer=kind | tokens, like=source))
        for key in set(keys) - set(tokens):
            folder = write(place / key, tokenizer=kind | {key: str(secret)}, like=source)
            cases.append({"folder": str(folder), "key": key})
        named = kind | dict.fromkeys(keys, str(secret))
        own = {"vocab__json": "{}", "vocab__txt": "a", "merges__txt": ""}
        cases += [
            write(place / "all", tokenizer=named),
            write(place / "all with files", tokenizer=named, **own),
            write(place / "files alone", tokenizer=kind, **own),
            write(
                place / "inputs", tokenizer=kind | {"init_inputs": [str(secret)] * 2}, like=source
            ),
        ]
    found = loaded(cases, secret, miniature.config.teacher.source)
    assert len(tokenizer_classes()) > 100
    assert_nothing_elsewhere(found)
    for case in found:
        if case.get("key") in {"vocab", "merges", "gguf_file", "vocab_file", "merges_file"}:
            assert f"sets {case['key']} to" in case["error"], case
    # Of keys of tokens, which are text, in the classes that go with a byte-level tokenizer.json.
    assert sum(case["error"] is None for case in found) > 50


@pytest.mark.parametrize(
    "key",
    [
        "vocab",
        "merges",
        "init_inputs",
        "gguf_file",
        "vocab_file",
        "spm_file",
        "sp_model_kwargs",
        "tokenizer_object",
        "anything_path",
        "mecab_kwargs",
    ],
)
def test_a_key_that_can_name_a_file_is_refused_by_name(miniature, tmp_path, key):
    folder = write(
        tmp_path / "m",
        tokenizer={key: "/proc/self/environ"},
        like=miniature.config.teacher.source,
    )
    with pytest.raises(ConfigError, match=rf"sets {key} to '/proc/self/environ'.*take the key out"):
        load_tokenizer(folder)


@pytest.mark.parametrize("value", [3, "../../secret", ["/etc/passwd"], {"model_file": "/etc/x"}])
def test_a_number_of_an_open_file_or_a_list_is_refused_like_a_path(miniature, tmp_path, value):
    folder = write(
        tmp_path / "m", tokenizer={"vocab_file": value}, like=miniature.config.teacher.source
    )
    with pytest.raises(ConfigError, match="sets vocab_file to"):
        load_tokenizer(folder)


def test_a_special_tokens_map_is_held_to_the_same_keys(miniature, secret, tmp_path):
    cases = []
    for number, key in enumerate(["vocab", "merges", "gguf_file", "vocab_file", "tokenizer_file"]):
        folder = write(tmp_path / f"m{number}", like=miniature.config.teacher.source)
        (folder / "special_tokens_map.json").write_text(json.dumps({key: str(secret)}))
        cases.append(folder)
    assert_nothing_elsewhere(loaded(cases, secret, miniature.config.teacher.source))


def test_a_tokenizer_json_whose_vocabulary_is_a_path_is_refused(miniature, secret, tmp_path):
    own, folders = miniature.config.teacher.source, []
    tried = [
        ("vocab", "LlamaTokenizer"),
        ("vocab", "GPT2Tokenizer"),
        ("merges", "Qwen2Tokenizer"),
        ("vocab", "BertTokenizer"),
    ]
    for key, kind in tried:
        folder = write(tmp_path / kind, tokenizer={"tokenizer_class": kind}, like=own)
        content = json.loads((folder / "tokenizer.json").read_text())
        content["model"][key] = str(secret)
        (folder / "tokenizer.json").write_text(json.dumps(content))
        folders.append(folder)
    cases = loaded(folders, secret, own)
    assert_nothing_elsewhere(cases)
    for (key, kind), case in zip(tried, cases, strict=True):
        assert f"as its model.{key}, which is no list of tokens" in case["error"], kind


def test_a_folder_without_a_vocabulary_has_no_tokenizer(tmp_path):
    folder = write(tmp_path / "m", tokenizer={"tokenizer_class": "GPT2Tokenizer"})
    with pytest.raises(ConfigError, match="no vocabulary of its own"):
        load_tokenizer(folder)


def test_a_vocabulary_of_another_class_is_none(tmp_path):
    folder = write(
        tmp_path / "m", tokenizer={"tokenizer_class": "GPT2Tokenizer"}, spiece__model="x"
    )
    with pytest.raises(ConfigError, match="none of the files that a GPT2Tokenizer reads"):
        load_tokenizer(folder)


def test_a_class_is_loaded_from_its_own_vocabulary_files(tmp_path):
    letters = bytes_to_unicode().values()  # of which a byte-level vocabulary has all
    folder = write(
        tmp_path / "m",
        tokenizer={"tokenizer_class": "GPT2Tokenizer"},
        model={"model_type": "gpt2"},
        vocab__json=json.dumps({token: n for n, token in enumerate([*letters, "ab"])}),
        merges__txt="#version: 0.2\na b\n",
    )
    assert load_tokenizer(folder).encode("ab") == [256]


PUBLISHED = {
    "llama-3": {
        "added_tokens_decoder": {
            "0": {
                "content": "<a>",
                "lstrip": False,
                "normalized": False,
                "rstrip": False,
                "single_word": False,
                "special": True,
            }
        },
        "bos_token": "<s>",
        "chat_template": "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "clean_up_tokenization_spaces": True,
        "eos_token": "</s>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
    "mistral": {
        "add_bos_token": True,
        "add_eos_token": False,
        "additional_special_tokens": [],
        "legacy": True,
        "model_max_length": 1000000000000000019884624838656,
        "pad_token": None,
        "sp_model_kwargs": {},
        "spaces_between_special_tokens": False,
        "tokenizer_class": "LlamaTokenizer",
        "use_default_system_prompt": False,
        "bos_token": {
            "__type": "AddedToken",
            "content": "<s>",
            "lstrip": False,
            "normalized": True,
            "rstrip": False,
            "single_word": False,
        },
    },
    "pythia": {
        "add_prefix_space": False,
        "bos_token": "<s>",
        "eos_token": "<s>",
        "unk_token": "<s>",
        "name_or_path": "EleutherAI/gpt-neox-20b",
        "special_tokens_map_file": "/admin/home-hailey/.cache/special_tokens_map.json",
        "tokenizer_class": "GPTNeoXTokenizer",
        "tokenizer_file": "/fsx/home-hailey/.cache/tokenizer.json",
    },
    "qwen-2": {
        "add_prefix_space": False,
        "additional_special_tokens": ["<|im_start|>"],
        "bos_token": None,
        "errors": "replace",
        "model_max_length": 32768,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    },
    "qwen-2-vl": {
        "extra_special_tokens": {"image_token": "<image>"},
        "processor_class": "Qwen2VLProcessor",
        "image_token": "<image>",
        "padding_side": "left",
        "tokenizer_class": "Qwen2Tokenizer",
        "chat_template": [{"name": "default", "template": "x"}, {"name": "rag", "template": "y"}],
    },
    "t5": {
        "eos_token": "</s>",
        "extra_ids": 100,
        "model_max_length": 512,
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "tokenizer_class": "PreTrainedTokenizerFast",
        "sp_model_kwargs": {},
    },
    "bert": {
        "do_basic_tokenize": True,
        "do_lower_case": True,
        "never_split": None,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "PreTrainedTokenizerFast",
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_settings_of_published_tokenizers_are_taken(miniature, tmp_path, name):
    source = miniature.config.teacher.source
    ours = load_tokenizer(write(tmp_path / "m", tokenizer=PUBLISHED[name], like=source))
    assert ours.n_tokens > 300
    theirs = AutoTokenizer.from_pretrained(tmp_path / "m")
    assert ours.hf("a kind river").input_ids == theirs("a kind river").input_ids
    assert ours.hf.chat_template == theirs.chat_template
    assert ours.hf.special_tokens_map == theirs.special_tokens_map


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tokenizer_class", "AutoTokenizer"),
        ("tokenizer_class", "pipeline"),
        ("model_max_length", "512"),
        ("chat_template", {"a": 1}),
        ("errors", "/etc/passwd"),
        ("added_tokens_decoder", {"0": "x"}),
        ("bos_token", {"content": "a", "vocab": "/x"}),
        ("extra_special_tokens", {"vocab": "/x"}),
        ("extra_ids", 10**9),
        ("offset", 10**9),
    ],
)
def test_a_listed_key_of_another_kind_is_refused(miniature, tmp_path, name, value):
    folder = write(tmp_path / "m", tokenizer={name: value}, like=miniature.config.teacher.source)
    with pytest.raises(ConfigError, match=f"sets {name} to .*correct it or take the key out"):
        load_tokenizer(folder)


def test_a_tokenizer_s_own_code_is_refused(miniature, tmp_path):
    folder = write(
        tmp_path / "m",
        tokenizer={"tokenizer_class": "OurTokenizer", "auto_map": {"AutoTokenizer": ["c.T", None]}},
        like=miniature.config.teacher.source,
        c__py="raise SystemExit('this code ran')",
    )
    with pytest.raises(ConfigError, match="needs Python code of its own"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "said",
    [
        {"transformers_weights": "other.safetensors.index.json"},
        {"configuration_files": ["config.4.0.0.json"]},
        {"base_model_name_or_path": "owner/model"},
        {"text_config": {"weights_file": "x"}},
        {"timm_kwargs": {"checkpoint_path": "/etc/passwd"}},
        {"quantization_config": {"quant_method": "gguf", "gguf_file": "../x.gguf"}},
        {"attn_implementation": "owner/kernel"},
        {"_attn_implementation": {"": "owner/kernel@main:f"}},
        {"anything": ["a", "../../x"]},
        {"anything": "/etc/passwd"},
    ],
)
@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_configuration_names_no_file_and_no_other_model(tmp_path, said, name):
    folder = write(tmp_path / "m")
    (folder / name).write_text(json.dumps(CONFIG | said))
    with pytest.raises(ConfigError, match="take the key out"), model_view(folder):
        pass


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"num_hidden_layers": 10**7}, r"'num_hidden_layers' to 10000000, more than the 4,096"),
        ({"n_layer": 10**7}, "more than the 4,096"),
        ({"vocab_size": 10**12}, "more than the 16,777,216"),
        ({"text_config": {"hidden_size": 10**9}}, "more than the 1,048,576"),
        ({"intermediate_size": [64, 10**9]}, "more than the 1,048,576"),
        ({"num_local_experts": 10**6}, "more than the 65,536"),
        ({"num_attention_heads": 10**9}, "more than the 65,536"),
        ({"num_labels": 10**9}, "more than the 65,536"),
        ({"vision_config": {"depth": 10**9}}, "more than the 65,536"),
        ({"num_codebooks": 10**9}, "more than the 65,536"),
        ({"rope_parameters": {"rope_theta": float("nan")}}, "'rope_theta' to nan"),
        ({"n_a_" * 10**5: 1}, "of 400,000 letters, which is none of a model"),
        ({"max_position_embeddings": 10**12}, "more than the 1,073,741,824"),
        ({"hidden_size": float("nan")}, "'hidden_size' to nan"),
        ({"whatever": 10**500}, "<a whole number of 501 digits>, which is no number"),
        ({"a": json.loads("[" * 50 + "]" * 50)}, "more than 32 levels"),
        ({"architectures": ["x" * (5 << 20)]}, "more than the 4194304 of any such file"),
    ],
)
def test_a_configuration_of_a_size_beyond_any_model_is_refused(tmp_path, said, told):
    folder = write(tmp_path / "m", model=said)
    with pytest.raises(ConfigError, match=told) as refused, model_view(folder):
        pass
    assert len(str(refused.value)) < 600


def test_where_a_model_once_lay_is_left_out(tmp_path):
    folder = write(
        tmp_path / "m",
        model={
            "_name_or_path": "/home/a",
            "return_dict": False,
            "text_config": {"name_or_path": "b"},
        },
    )
    with model_view(folder) as view:
        assert json.loads((view / "config.json").read_text()) == CONFIG | {"text_config": {}}


def test_a_key_that_stands_twice_in_a_model_s_files_is_refused(miniature, tmp_path):
    # Python keeps the last dropout, which is none; the tokenizer's library keeps the first.
    folder = write(tmp_path / "m", like=miniature.config.teacher.source)
    said = (folder / "tokenizer.json").read_text()
    twice = re.sub(r'"dropout":\s*null', '"dropout": 0.5, "dropout": null', said, count=1)
    assert twice != said
    (folder / "tokenizer.json").write_text(twice)
    with pytest.raises(ConfigError, match=r"tokenizer.json is no JSON .*key 'dropout' twice"):
        load_tokenizer(folder)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "3", "{", "\x00"])
def test_settings_that_are_none_are_refused_in_a_sentence(tmp_path, text):
    folder = write(tmp_path / "m")
    (folder / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"is no JSON.*copy it again"), model_view(folder):
        pass


def test_what_is_hashed_is_what_is_loaded(tmp_path):
    folder = write(tmp_path / "m", tokenizer__json="{}", added_tokens__json="{}", extra__py="")
    for name in ("model-1.safetensors", "consolidated.safetensors", "pytorch_model.bin"):
        (folder / name).write_text("x")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    read = ["added_tokens.json", "config.json", "model-1.safetensors", INDEX, "tokenizer.json"]
    assert list(files_of(folder, tokenizer=True, weights=True)) == read
    (folder / "model.safetensors").write_text("y")
    assert weight_files(folder) == [folder / "model.safetensors"]
    with model_view(folder, weights=True) as view:
        assert sorted(path.name for path in view.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("name", [INDEX, "other.safetensors.index.json"])
@pytest.mark.parametrize("target", ["../../x.safetensors", "/x.safetensors", "model.bin", 3])
def test_every_index_names_safetensors_of_the_folder_alone(tmp_path, name, target):
    folder = write(tmp_path / "m", model__safetensors="x", model__bin="x")
    (folder / name).write_text(json.dumps({"weight_map": {"a": target}}))
    with pytest.raises(ConfigError, match=r"which is no \*\.safetensors beside it"):
        weight_files(folder)


def test_a_model_is_loaded_without_a_look_elsewhere(miniature, secret, tmp_path):
    source, cases = Path(miniature.config.teacher.source), []
    config = json.loads((source / "config.json").read_text())
    hostile = {
        "own": {},
        "weights": {"transformers_weights": "../../elsewhere/environ"},
        "file": {"configuration_files": [str(secret)]},
        "adapter": {"base_model_name_or_path": str(secret.parent)},
        "backbone": {"timm_kwargs": {"checkpoint_path": str(secret)}},
    }
    for name, said in hostile.items():
        folder = Path(shutil.copytree(source, tmp_path / name))
        (folder / "config.json").write_text(json.dumps(config | said))
        (folder / "adapter_config.json").write_text(json.dumps({"base_model": str(secret)}))
        cases.append({"folder": str(folder), "weights": True, "name": name})
    found = loaded(cases, secret, str(source))
    assert_nothing_elsewhere(found)
    assert [case["name"] for case in found if case["error"] is None] == ["own"]
    assert all("take the key out" in case["error"] for case in found[1:])


def test_nothing_that_lies_beside_a_gguf_file_is_read(tmp_path):
    write(tmp_path / "m", tokenizer={"vocab": "/etc/passwd"}, model__gguf="x")
    with gguf_view(tmp_path / "m" / "model.gguf") as view:
        assert list(view.parent.iterdir()) == [view]
        assert view.read_text() == "x"


def test_a_link_below_the_first_level_is_refused(tmp_path, secret):
    folder = write(tmp_path / "m", tokenizer__json="{}")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "a.jinja").symlink_to(secret)
    with pytest.raises(ConfigError, match="out of the model's folder"):
        check_links(folder)
    with pytest.raises(ConfigError, match="out of the model's folder"):
        files_of(folder, tokenizer=True, weights=False)


def test_a_link_of_a_whole_folder_is_refused(tmp_path, secret):
    folder = write(tmp_path / "m", tokenizer__json="{}")
    (folder / "additional_chat_templates").symlink_to(secret.parent)
    (secret.parent / "a.jinja").write_text(SECRET)
    with pytest.raises(ConfigError, match="out of the model's folder"):
        check_links(folder)
    with pytest.raises(ConfigError, match="out of the model's folder"):
        files_of(folder, tokenizer=True, weights=False)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", *VOCABULARIES])
def test_a_file_that_is_a_link_to_elsewhere_is_refused(tmp_path, secret, name):
    folder = write(tmp_path / "m", tokenizer__json="{}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(ConfigError, match="out of the model's folder"):
        load_tokenizer(folder)


def test_a_pipe_is_not_waited_for(tmp_path):
    folder = write(tmp_path / "m")
    os.mkfifo(folder / "tokenizer.json")
    with pytest.raises(ConfigError, match="no plain file"):
        load_tokenizer(folder)


def test_links_of_the_hub_s_cache_lead_to_its_blobs_and_not_further(tmp_path, secret):
    folder = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    folder.mkdir(parents=True)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    (blobs / "1").write_text("{}")
    (folder / "config.json").symlink_to("../../blobs/1")
    assert inside(folder / "config.json", folder) == blobs / "1"
    (folder / "merges.txt").symlink_to(secret)
    with pytest.raises(ConfigError, match="out of the model's folder"):
        inside(folder / "merges.txt", folder)


def test_a_template_of_any_size_is_refused_unread(miniature, tmp_path):
    folder = write(tmp_path / "m", like=miniature.config.teacher.source)
    (folder / "chat_template.jinja").touch()
    os.truncate(folder / "chat_template.jinja", 1 << 40)
    with pytest.raises(ConfigError, match=r"chat_template\.jinja has 1099511627776 bytes"):
        load_tokenizer(folder)
