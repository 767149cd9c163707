"""Tiny, randomly initialised models of the architectures that transformers lists for classification."""

from __future__ import annotations

import copy
from typing import Any

import torch
import transformers
from transformers import CONFIG_MAPPING

SMALL: dict[str, Any] = {
    **dict.fromkeys(("hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embedding_size"), 32),
    **dict.fromkeys(("n_inner", "intermediate_size", "hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("ffn_dim", "d_ff", "dff", "d_inner"), 64),
    **dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers"), 3),
    **dict.fromkeys(("num_layers", "encoder_layers", "decoder_layers", "num_decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), 2),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("d_kv", "head_dim"), 16),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx"), 64),
    **dict.fromkeys(("num_local_experts", "num_experts", "type_vocab_size"), 2),
    "vocab_size": 60, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "n_routed_experts": 4,
    "num_experts_per_tok": 1, "moe_intermediate_size": 32, "image_size": 32, "patch_size": 8,
}  # fmt: skip

_VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
           "image_size": 32, "patch_size": 8}  # fmt: skip
_TEXT = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 60}
_TOWER = {"vision_config": _VISION, "text_config": _TEXT}
_LATENT = {"head_dim": None, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 16, "kv_lora_rank": 16,
           "q_lora_rank": 16}  # fmt: skip
_SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "num_heads": [1, 2], "window_size": 4}
_CONVNEXT = {"image_size": 64, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 2, 1], "patch_size": 4}
_LINEAR = {"num_hidden_layers": 4, "layer_types": None, "linear_num_value_heads": 2, "linear_num_key_heads": 2,
           "linear_key_head_dim": 8, "linear_value_head_dim": 8}  # fmt: skip
_T5GEMMA = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
            "head_dim": 16, "intermediate_size": 64, "vocab_size": 60}  # fmt: skip

OWN: dict[str, dict[str, Any]] = {
    "clip": _TOWER,
    "metaclip_2": _TOWER,
    "siglip": _TOWER,
    "convnext": _CONVNEXT,
    "convnextv2": _CONVNEXT,
    "deepseek_v3": _LATENT,
    "mistral4": _LATENT,
    "donut-swin": _SWIN,
    "swin": _SWIN,
    "swinv2": _SWIN,
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "gptj": {"rotary_dim": 8},
    "hiera": {"embed_dim": 8, "num_heads": [1, 1, 2, 2], "depths": [1, 1, 2, 1], "image_size": [32, 32],
              "patch_stride": [4, 4], "masked_unit_size": [8, 8], "embed_dim_multiplier": 2.0},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False, "mamba_d_state": 4,
              "mamba_dt_rank": 4, "num_hidden_layers": 2},
    "layoutlmv3": {"input_size": 32, "visual_embed": False, "has_spatial_attention_bias": True, "coordinate_size": 4,
                   "shape_size": 8},
    "levit": {"image_size": 64, "patch_size": 16, "hidden_sizes": [16, 24, 32], "num_attention_heads": [1, 2, 2],
              "depths": [1, 1, 1], "key_dim": [8, 8, 8]},
    "luke": {"entity_vocab_size": 20, "entity_emb_size": 16},
    "perceiver": {"num_latents": 4, "d_latents": 32, "d_model": 32, "num_self_attends_per_block": 2,
                  "num_self_attention_heads": 2, "num_cross_attention_heads": 2, "max_position_embeddings": 16},
    "qwen3_5_text": _LINEAR,
    "qwen3_next": _LINEAR,
    "t5": {"decoder_start_token_id": 0},
    "t5gemma": {"encoder": _T5GEMMA, "decoder": {**_T5GEMMA, "cross_attention_hidden_size": 32}},
    "textnet": {"image_size": [64, 64]},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "zamba": {"num_hidden_layers": 6, "attn_layer_period": 3, "attn_layer_offset": 1, "n_mamba_heads": 2,
              "mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False},
}  # fmt: skip
"""Fields that an architecture needs in its own way; None leaves a general one out."""

UNBUILT = frozenset(
    {"bros", "cohere_compass_text", "dinat", "efficientnet", "layoutlmv2", "lilt", "mobilevitv2", "pp_lcnet",
     "reformer", "roformer", "siglip2", "squeezebert", "timm_wrapper", "zamba2", "axk1",
     "gemma3", "modernvbert", "qwen3_5", "qwen3_asr", "shieldgemma2", "t5gemma2", "ultravbert"}
)  # fmt: skip
"""Not built tiny here: other inputs or packages, or several towers, which are refused."""


def tiny_model(model_type: str, class_name: str) -> torch.nn.Module:
    """A model of a few ten thousand weights."""
    config_class = CONFIG_MAPPING[model_type]
    known = config_class().to_dict()
    values = {k: v for k, v in SMALL.items() if k in known and not isinstance(known[k], (list, dict, tuple))}
    for key, value in OWN.get(model_type, {}).items():
        values.pop(key, None)
        if value is not None:
            values[key] = copy.deepcopy(value)
    torch.manual_seed(0)
    return getattr(transformers, class_name)._from_config(config_class(**values))


def example_inputs(model: torch.nn.Module, task: str) -> dict[str, torch.Tensor]:
    """Two random texts or images for a tiny model."""
    generator = torch.Generator().manual_seed(0)
    config = model.config
    if task == "image" and config.model_type != "imagegpt":
        size = getattr(config, "image_size", 32) or 32
        size = size if isinstance(size, int) else size[0]
        return {
            "pixel_values": torch.randn(2, getattr(config, "num_channels", 3) or 3, size, size, generator=generator)
        }
    ids = torch.randint(5, 60, (2, 12), generator=generator)
    ids[:, -1] = 3
    if config.model_type == "imagegpt":
        return {"input_ids": ids}
    name = "inputs" if config.model_type == "perceiver" else "input_ids"
    return {name: ids, "attention_mask": torch.ones_like(ids)}
