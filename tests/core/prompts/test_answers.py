import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from dskd_core.decoder.decoder import Decoder
from dskd_core.prompts.answers import end_tokens_of, greedy_answers

SIZES = {"vocab_size": 60, "eos_token_id": None, "bos_token_id": None}


def make_model(kind):
    torch.manual_seed(0)
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, **SIZES))
    else:
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
        model = LlamaForCausalLM(LlamaConfig(**shape, **heads, **SIZES))
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.4)
    return Decoder(model.eval(), 52)  # 8 padded rows that must never win


def one_by_one(teacher, ids, n_tokens, ends):
    """Greedy decoding as the textbook has it: the whole text again for every token."""
    written = []
    while len(written) < n_tokens and not (written and written[-1] in ends):
        with torch.no_grad():
            logits = teacher.model(torch.tensor([[*ids, *written]])).logits[
                0, -1, : teacher.n_tokens
            ]
        written.append(int(logits.argmax()))
    return written


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("prefix", [(), (1,)])
@pytest.mark.parametrize("n_tokens", [1, 9])
def test_a_batch_is_answered_as_one_by_one(kind, prefix, n_tokens):
    teacher = make_model(kind)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, 52, size=n) for n in (17, 3, 1, 30, 8)]
    expected = [one_by_one(teacher, [*prefix, *p], n_tokens, ()) for p in prompts]
    assert greedy_answers(teacher, prompts, prefix, n_tokens, ()) == expected
    if n_tokens > 1:
        ends = {expected[0][2], expected[3][0]}
        cut = [one_by_one(teacher, [*prefix, *p], n_tokens, ends) for p in prompts]
        assert greedy_answers(teacher, prompts, prefix, n_tokens, ends) == cut
        assert len(cut[3]) == 1


def test_the_ends_are_the_models_own_and_the_tokenizers():
    teacher = make_model("llama")
    assert end_tokens_of(teacher, None) == frozenset()
    teacher.model.generation_config.eos_token_id = [4, 9]
    assert end_tokens_of(teacher, 2) == {2, 4, 9}
