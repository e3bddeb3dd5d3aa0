"""Tiny random models of every family that transformers has with a causal head."""

import torch
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING
from transformers.utils import logging

N_TOKENS = 64
MOST_PARAMETERS = 4_000_000
_SIZES = {
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
_OWN = {
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
_OWN |= {name: {"num_key_value_heads": 2} for name in _LATENT}
_SPECIAL = {"bos_token_id": None, "eos_token_id": None}


def make_model(model_type, **settings):
    """Return a tiny model with random weights that are large enough to tell states apart.

    None where it cannot be made small. Settings that a family does not have are left out: a cache
    would believe in a window that no layer has.
    """
    logging.set_verbosity_error()
    cls = CONFIG_MAPPING[model_type]
    known = {*cls().to_dict(), *cls.attribute_map}
    given = {name: value for name, value in _SIZES.items() if name in known}
    own = given | _OWN.get(model_type, {}) | settings
    for special in (_SPECIAL, {}):  # some configurations refuse an absent token
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
    if sum(p.numel() for p in sketch.parameters()) > MOST_PARAMETERS:
        return None
    torch.manual_seed(0)
    model = kind(config).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def model_types():
    """Return the families with a causal head."""
    return sorted({config.model_type for config in MODEL_FOR_CAUSAL_LM_MAPPING})
