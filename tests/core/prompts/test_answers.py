import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from dskd_core.decoder.decoder import Decoder
from dskd_core.decoder.padding import bears_gap, even_width
from dskd_core.prompts.answers import end_tokens_of, greedy_answers
from tests.families import FAMILIES, N_TOKENS, two_layer_model

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


def answered(model_type, n_tokens=8, **settings):
    """Answer prompts of several lengths together and each alone, well beyond a window of 16."""
    teacher = Decoder(two_layer_model(model_type, **settings), N_TOKENS - 4)
    rng = np.random.default_rng(0)
    prompts = [rng.integers(2, teacher.n_tokens, size=n) for n in (66, 5, 40, 5)]
    together = greedy_answers(teacher, prompts, (), n_tokens, ())
    return together, [greedy_answers(teacher, [p], (), n_tokens, ())[0] for p in prompts]


@pytest.mark.parametrize(
    "model_type",
    ["gemma3_text", "mistral", "gpt_oss", "lfm2", "granitemoehybrid", "gpt_neo", "mpt", "rwkv"],
)
def test_an_answer_does_not_depend_on_its_batch(model_type):
    together, alone = answered(model_type)
    assert together == alone
    assert len(set(map(tuple, alone))) > 1


@pytest.mark.slow
def test_no_answer_of_any_family_depends_on_its_batch():
    tried, wrong, untried = [], [], {}
    for model_type in FAMILIES:
        try:
            together, alone = answered(model_type)
        except Exception as error:  # not built, not small, or cannot run at all
            untried[model_type] = f"{type(error).__name__}: {str(error)[:90]}"
            continue
        tried.append(model_type)
        if together != alone:
            wrong.append(model_type)
    print(len(tried), "families tried; not tried:", untried)
    assert wrong == []
    assert len(tried) > 110


def test_a_gap_is_borne_by_full_attention_and_by_windows_wider_than_the_batch():
    assert bears_gap(two_layer_model("llama"), 100)
    assert not bears_gap(two_layer_model("mistral"), 100)  # its window is 16
    assert bears_gap(two_layer_model("mistral", sliding_window=128), 100)
    assert not bears_gap(two_layer_model("gpt_neo"), 100)  # local layers that no cache tells of
    assert not bears_gap(two_layer_model("mpt"), 100)  # its biases count places of the cache
    assert not bears_gap(two_layer_model("lfm2"), 100)


@pytest.mark.parametrize("rope_type", ["dynamic", "longrope"])
def test_frequencies_that_follow_the_longest_row_are_those_of_each_row_alone(rope_type):
    rope = {"rope_type": rope_type, "rope_theta": 1e4, "factor": 4.0}
    if rope_type == "longrope":
        rope |= {"short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    rope["original_max_position_embeddings"] = 32
    settings = {"rope_parameters": rope, "max_position_embeddings": 32}
    model = two_layer_model("llama", **settings)
    teacher, rng = Decoder(model, N_TOKENS - 4), np.random.default_rng(0)
    assert even_width(model) == 32
    together, alone = answered("llama", **settings)
    assert together == alone
    rows = [rng.integers(2, 60, size=n) for n in (66, 40, 20)]
    ids = torch.zeros(3, 66, dtype=torch.int64)
    for line, row in zip(ids, rows, strict=True):
        line[: len(row)] = torch.from_numpy(row)
    with torch.no_grad():
        states = teacher.states(ids, [66, 40, 20])
        for line, row in zip(states, rows, strict=True):
            teacher.forget_width()
            own = model.base_model(torch.from_numpy(row)[None]).last_hidden_state[0]
            torch.testing.assert_close(line[: len(row)], own, atol=1e-4, rtol=1e-4)


def test_a_models_own_penalties_do_not_change_its_answers():
    plain, _ = answered("mistral")
    teacher = Decoder(two_layer_model("mistral"), N_TOKENS - 4)
    teacher.model.generation_config.repetition_penalty = 9.0
    teacher.model.generation_config.suppress_tokens = [plain[0][0]]
    first = np.random.default_rng(0).integers(2, teacher.n_tokens, size=66)
    assert greedy_answers(teacher, [first], (), 8, ()) == plain[:1]
    assert teacher.model.generation_config.repetition_penalty == 9.0
