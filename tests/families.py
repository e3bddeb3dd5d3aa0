"""A tiny model of every family that transformers has with a causal head."""

import dataclasses

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
)
from transformers.utils import logging

N_TOKENS = 96
_MOST = 20_000_000
FAMILIES = sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
_TINY = {
    "vocab_size": N_TOKENS,
    "hidden_size": 32,
    "d_model": 32,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "ffn_hidden_size": 48,
    "decoder_ffn_dim": 48,
    "shared_expert_intermediate_size": 16,
    "moe_intermediate_size": 16,
    "moe_shared_expert_intermediate_size": 16,
    "expert_ffn_hidden_size": 16,
    "shared_intermediate_size": 16,
    "intermediate_size_mlp": 16,
    "num_hidden_layers": 8,
    "num_layers": 8,
    "n_layers": 8,
    "decoder_layers": 8,
    "num_decoder_layers": 8,
    "num_attention_heads": 4,
    "n_heads": 4,
    "num_heads": 4,
    "decoder_attention_heads": 4,
    "num_decoder_attention_heads": 4,
    "num_key_value_heads": 2,
    "multi_query_group_num": 2,
    "num_linear_attention_heads": 4,
    "head_dim": 8,
    "kv_channels": 8,
    "rotary_dim": 4,
    "max_position_embeddings": 64,
    "n_positions": 64,
    "max_sequence_length": 64,
    "max_seq_len": 64,
    "sliding_window": 6,
    "window_size": 6,
    "attention_window_size": 6,
    "attention_chunk_size": 8,
    "num_experts": 4,
    "n_routed_experts": 4,
    "num_local_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_k": 2,
    "moe_topk": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "kv_lora_rank": 8,
    "q_lora_rank": 8,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "qk_head_dim": 16,
    "v_head_dim": 8,
    "index_topk": 6,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "state_size": 4,
    "mamba_d_state": 4,
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_ssm": 64,
    "mamba_num_heads": 8,
    "mamba_head_dim": 8,
    "mamba_ngroups": 1,
    "n_mamba_heads": 1,
    "n_groups": 1,
    "chunk_size": 8,
    "mamba_chunk_size": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "lru_width": 32,
    "attention_hidden_size": 64,
    "hidden_size_per_layer_input": 8,
    "vocab_size_per_layer_input": N_TOKENS,
    "num_kv_shared_layers": 2,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "laurel_rank": 4,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
_OF_FAMILY = {"gpt_neo": {"attention_types": [[["global", "local"], 4]]}}

_TWO_LAYERS = {
    "vocab_size": N_TOKENS,
    "hidden_size": 16,
    "d_model": 16,
    "n_embd": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_attention_heads": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_key_value_heads": 1,
    "sliding_window": 16,
    "max_position_embeddings": 512,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 8,
    "pad_token_id": 0,
}
_MAMBA = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1}
_LINEAR = {"layer_types": ["linear_attention", "full_attention"]}
_OF_FAMILY_OF_TWO = {
    "bamba": _MAMBA | {"attn_layer_indices": [1]},
    "bert": {"is_decoder": True},
    "codegen": {"n_head": 4, "rotary_dim": 4},
    "diffllama": {"num_key_value_heads": 2},
    "falcon_h1": _MAMBA | {"mamba_d_ssm": 32},
    "gpt_neo": {"window_size": 16, "attention_types": [[["global", "local"], 1]], "num_layers": 2},
    "gptj": {"rotary_dim": 4},
    "granitemoehybrid": _MAMBA | {"layer_types": ["mamba", "attention"]},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2},
    "bailing_hybrid": _LINEAR,
    "kimi_linear": _LINEAR,
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "mamba2": {"num_heads": 4, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "qwen3_5_text": _LINEAR,
    "qwen3_5_moe_text": _LINEAR,
    "qwen3_next": _LINEAR,
    "qwen4_exp_text": _LINEAR,
    "recurrent_gemma": {"block_types": ["recurrent", "attention"], "attention_window_size": 16},
    "zaya": {"num_experts_per_tok": 1},
}
_LATENT = (
    "axk1",
    "axk2",
    "deepseek_v2",
    "deepseek_v3",
    "glm4_moe_lite",
    "longcat_flash",
    "minicpm3",
)
_OF_FAMILY_OF_TWO |= {name: {"num_key_value_heads": 2} for name in _LATENT}
_NO_ENDS = {"bos_token_id": None, "eos_token_id": None}


def tiny_config(family, **changes):
    """Return a family's configuration with all sizes it knows made tiny; eight layers."""
    config = CONFIG_MAPPING[family]
    known = {field.name for field in dataclasses.fields(config)} | set(config.attribute_map)
    aliases = {config.attribute_map[name] for name in known & set(config.attribute_map)}
    values = {n: v for n, v in _TINY.items() if n in known and n not in aliases}
    values |= {n: v for n, v in _TINY.items() if n in aliases and n in known}
    values |= _OF_FAMILY.get(family, {}) | changes
    named = {config.attribute_map.get(name, name): value for name, value in values.items()}
    return config(**named)


def tiny_model(family, *, on="cpu", dtype=torch.float32, **changes):
    """Return a family's model with large random weights, so that all it computes shows.

    As when it is loaded, what is no weight keeps its precision: the frequencies of positions.

    A test is skipped where the family cannot be made so small without more knowledge of it.
    """
    torch.manual_seed(0)
    try:
        config = tiny_config(family, **changes)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        if sum(p.numel() for p in model.parameters()) > _MOST:
            raise ValueError("it is not tiny")
        if on == "meta":
            return model
        model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval().requires_grad_(False)
        for parameter in model.parameters():
            if parameter.dim() > 1:
                torch.nn.init.normal_(parameter, std=0.2)
        with torch.no_grad():
            model(torch.arange(3, 12)[None])
    except Exception as error:
        pytest.skip(f"{family} is not built: {type(error).__name__}: {error}")
    return model


def two_layer_model(family, **settings):
    """Return a model of two layers with random weights that are large enough to tell states apart.

    None where it cannot be made small. Settings that a family does not have are left out: a cache
    would believe in a window that no layer has.
    """
    logging.set_verbosity_error()
    cls = CONFIG_MAPPING[family]
    known = {*cls().to_dict(), *cls.attribute_map}
    given = {name: value for name, value in _TWO_LAYERS.items() if name in known}
    own = given | _OF_FAMILY_OF_TWO.get(family, {}) | settings
    for special in (_NO_ENDS, {}):  # some configurations refuse an absent token
        error = None
        try:
            config = cls(**({k: v for k, v in special.items() if k in known} | own))
            kind = MODEL_FOR_CAUSAL_LM_MAPPING[cls]
            kind = kind[0] if isinstance(kind, tuple) else kind
            with torch.device("meta"):
                sketch = kind(config)
            break
        except Exception as fault:  # whatever a configuration refuses
            error = fault
    if error is not None:
        raise error
    if sum(p.numel() for p in sketch.parameters()) > _MOST // 5:
        return None
    torch.manual_seed(0)
    model = kind(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model
