"""From an open_clip SigLIP (a timm vision transformer with attention pooling) to transformers' `SiglipModel`."""

from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ExportError
from cliptune.export.transformers_clip import activation, attention, encoder_layer, named, put


def is_siglip(backbone: Backbone) -> bool:
    """Whether the image tower is SigLIP's: timm's vision transformer, pooled by attention, and a logit bias."""
    trunk = getattr(backbone.towers()["image"], "trunk", None)
    return isinstance(trunk, VisionTransformer) and trunk.attn_pool is not None and backbone.logit_bias is not None


def siglip(backbone: Backbone, tokenizer: Any) -> Any:
    """A `SiglipModel` with the backbone's weights.

    Args:
        backbone: folded.
        tokenizer: in transformers' form.

    Raises:
        ExportError: the architecture has no place in it.
    """
    from transformers import SiglipConfig, SiglipModel, SiglipTextConfig, SiglipVisionConfig

    towers = backbone.towers()
    trunk: Any = towers["image"].trunk  # type: ignore[union-attr]
    text: Any = towers["text"]
    _check(backbone, trunk, text)
    block, word = trunk.blocks[0], text.transformer.resblocks[0]
    vision = SiglipVisionConfig(
        hidden_size=trunk.embed_dim,
        intermediate_size=block.mlp.fc1.out_features,
        num_hidden_layers=len(trunk.blocks),
        num_attention_heads=block.attn.num_heads,
        image_size=backbone.preprocess.size[0],
        patch_size=trunk.patch_embed.patch_size[0],
        hidden_act=activation(block.mlp.act),
        layer_norm_eps=block.norm1.eps,
    )
    words = SiglipTextConfig(
        hidden_size=word.attn.embed_dim,
        intermediate_size=word.mlp.c_fc.out_features,
        num_hidden_layers=len(text.transformer.resblocks),
        num_attention_heads=word.attn.num_heads,
        hidden_act=activation(word.mlp.gelu),
        layer_norm_eps=word.ln_1.eps,
        vocab_size=text.token_embedding.num_embeddings,
        max_position_embeddings=len(text.positional_embedding),
        projection_size=backbone.config["embed_dim"],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = SiglipModel(SiglipConfig(text_config=words.to_dict(), vision_config=vision.to_dict()))
    state = {**_vision(trunk), **_text(text)}
    state |= {"logit_scale": backbone.model.logit_scale.reshape(1), "logit_bias": backbone.model.logit_bias.reshape(1)}
    put(model, state)
    return model.eval()


def _check(backbone: Backbone, trunk: Any, text: Any) -> None:
    pool = getattr(text, "pool_type", None)
    head: Any = backbone.towers()["image"].head  # type: ignore[union-attr]
    odd = {
        "class or register tokens": trunk.num_prefix_tokens > 0,
        "a layer scale": not isinstance(trunk.blocks[0].ls1, nn.Identity),
        "norms of query and key": not isinstance(trunk.blocks[0].attn.q_norm, nn.Identity),
        "a norm before its blocks": not isinstance(trunk.norm_pre, nn.Identity),
        "images that are not square": len(set(backbone.preprocess.size)) > 1,
        "a projection of images": any(True for _ in head.parameters()),
        f"a text pooling by {pool}": pool != "last",
        "a causal text tower": text.attn_mask is not None,
        "a text projection without bias": getattr(text.text_projection, "bias", None) is None,
        "a tokenizer that pads with another token": type(backbone.preprocess.tokenizer).__name__ == "SimpleTokenizer",
    }
    found = [what for what, there in odd.items() if there]
    if found:
        raise ExportError(f"transformers' SiglipModel has no place for {found[0]}. Use --format open_clip or onnx.")


def _vision(trunk: Any) -> dict[str, Tensor]:
    prefix, pool = "vision_model.", trunk.attn_pool
    found = {
        **named({"embeddings.patch_embedding": trunk.patch_embed.proj, "post_layernorm": trunk.norm}, prefix),
        f"{prefix}embeddings.position_embedding.weight": trunk.pos_embed[0],
        f"{prefix}head.probe": pool.latent,
        f"{prefix}head.attention.in_proj_weight": torch.cat([pool.q.weight, pool.kv.weight]),
        f"{prefix}head.attention.in_proj_bias": torch.cat([pool.q.bias, pool.kv.bias]),
        **named({"head.attention.out_proj": pool.proj, "head.layernorm": pool.norm}, prefix),
        **named({"head.mlp.fc1": pool.mlp.fc1, "head.mlp.fc2": pool.mlp.fc2}, prefix),
    }
    for i, block in enumerate(trunk.blocks):
        layer = f"{prefix}encoder.layers.{i}."
        found |= attention(block.attn.qkv.weight, block.attn.qkv.bias, block.attn.proj, f"{layer}self_attn.")
        found |= named({"layer_norm1": block.norm1, "layer_norm2": block.norm2, "mlp.fc1": block.mlp.fc1, "mlp.fc2": block.mlp.fc2}, layer)
    return found


def _text(tower: Any) -> dict[str, Tensor]:
    prefix = "text_model."
    found = {
        f"{prefix}embeddings.token_embedding.weight": tower.token_embedding.weight,
        f"{prefix}embeddings.position_embedding.weight": tower.positional_embedding,
        **named({"final_layer_norm": tower.ln_final, "head": tower.text_projection}, prefix),
    }
    for i, block in enumerate(tower.transformer.resblocks):
        found |= encoder_layer(block, f"{prefix}encoder.layers.{i}.")
    return found
