"""Models that read ahead, and those that only seem to."""

import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from dskd_core.config import TeacherConfig
from dskd_core.decoder.causality import check_causal
from dskd_core.decoder.decoder import load_decoder
from dskd_core.errors import ConfigError

N_TOKENS = 50
EMBEDDED = torch.randn(N_TOKENS, 4, generator=torch.Generator().manual_seed(0))


def causal(ids):
    return EMBEDDED[ids].cumsum(dim=1)


def reads_ahead(ids):
    return EMBEDDED[ids] + EMBEDDED[ids].mean(dim=1, keepdim=True)


def rounds_otherwise(ids):
    return causal(ids) * (1 + 1e-5 * ids[0, -1] / N_TOKENS)


class NearTie:
    """A causal model one of whose experts is chosen by a hair, on the first text alone."""

    def __init__(self):
        self.first = None

    def __call__(self, ids):
        """Return states that are moved where the first text is met with another last token."""
        self.first = ids if self.first is None else self.first
        flips = torch.equal(ids[0, :-1], self.first[0, :-1]) and not torch.equal(ids, self.first)
        return causal(ids) + float(flips)


def unlike_twice(ids):
    return causal(ids) + 0.1 * torch.rand(1, ids.shape[1], 4)


def does_not_run(ids):
    raise RuntimeError("it needs a picture, too")


@pytest.mark.parametrize(
    "states", [causal, rounds_otherwise, NearTie(), unlike_twice, does_not_run]
)
def test_a_causal_model_passes_whatever_its_device_and_its_experts_do(states):
    check_causal(states, N_TOKENS, "model")


@pytest.mark.parametrize("error", [AttributeError("no sliding_window"), KeyError("x")], ids=str)
def test_a_model_that_lacks_a_setting_to_run_is_refused_in_a_sentence(error):
    def states(ids):
        raise error

    with pytest.raises(ConfigError, match=r"^model cannot be run: .*; copy the whole checkpoint"):
        check_causal(states, N_TOKENS, "model")


def test_a_model_that_reads_ahead_is_refused():
    with pytest.raises(ConfigError, match=r"^model is no causal language model: .*; give a model"):
        check_causal(reads_ahead, N_TOKENS, "model")


def test_attention_that_was_set_to_look_both_ways_is_refused_as_it_is_loaded(miniature, tmp_path):
    teacher = miniature.config.teacher.source
    n_rows = AutoConfig.from_pretrained(teacher).vocab_size
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "head_dim": 8}
    sizes |= {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": n_rows}
    for both_ways in (False, True):
        folder = shutil.copytree(teacher, tmp_path / f"{both_ways}")
        config = AutoConfig.for_model("gemma3_text", **sizes, use_bidirectional_attention=both_ways)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        settings = TeacherConfig(dtype="float32", device="cpu")
        if not both_ways:
            load_decoder(folder, settings)
            continue
        with pytest.raises(ConfigError, match=r"reads ahead .*use_bidirectional_attention"):
            load_decoder(folder, settings)
