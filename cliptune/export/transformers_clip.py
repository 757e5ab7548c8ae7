"""From an open_clip model to transformers' `CLIPModel`: the same weights under other names.

What has no place there (ResNets, timm's towers, other poolings) is refused; the proof would find what is not known here.
"""

from typing import Any

from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ExportError


def clip(backbone: Backbone, tokenizer: Any) -> Any:
    """A `CLIPModel` with the backbone's weights.

    Args:
        backbone: folded.
        tokenizer: in transformers' form.

    Raises:
        ExportError: the architecture has no place in it.
    """
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    towers = backbone.towers()
    image: Any = towers["image"]
    text: Any = towers["text"]
    _check(backbone, image)
    blocks = {"image": image.transformer.resblocks, "text": text.transformer.resblocks}
    vision = CLIPVisionConfig(
        **_block_config(blocks["image"], "image"),
        image_size=backbone.preprocess.size[0],
        patch_size=image.patch_size[0],
        projection_dim=backbone.config["embed_dim"],
    )
    words = CLIPTextConfig(
        **_block_config(blocks["text"], "text"),
        vocab_size=text.token_embedding.num_embeddings,
        max_position_embeddings=len(text.positional_embedding),
        projection_dim=backbone.config["embed_dim"],
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPModel(CLIPConfig(text_config=words.to_dict(), vision_config=vision.to_dict(), projection_dim=backbone.config["embed_dim"]))
    state = {**_vision(image), **_text(text), "logit_scale": backbone.model.logit_scale.reshape(())}
    for name, part in blocks.items():
        for i, block in enumerate(part):
            state |= encoder_layer(block, f"{'vision' if name == 'image' else 'text'}_model.encoder.layers.{i}.")
    put(model, state)
    return model.eval()


def _check(backbone: Backbone, image: Any) -> None:
    if not isinstance(image, VisionTransformer):
        raise ExportError(f"transformers' CLIPModel has no place for the image tower {_kind(image)}. Use --format open_clip or onnx.")
    if len(set(backbone.preprocess.size)) > 1:
        raise ExportError("transformers' CLIPModel takes square images only. Use --format open_clip or onnx.")
    odd = {
        "an attentional pooling": getattr(image, "attn_pool", None) is not None,
        f"a pooling by {image.pool_type}": image.pool_type != "tok",
        "a projection with a norm after pooling": getattr(image, "final_ln_after_pool", False),
        "no norm before its blocks": isinstance(image.ln_pre, nn.Identity),
        "a layer scale": not isinstance(image.transformer.resblocks[0].ls_1, nn.Identity),
    }
    found = [what for what, there in odd.items() if there]
    if found or not backbone.causal or backbone.logit_bias is not None:
        what = f"an image tower with {found[0]}" if found else "a text tower that is not causal, or a logit bias"
        raise ExportError(f"transformers' CLIPModel has no place for {what}. Use --format open_clip or onnx.")


def _block_config(blocks: Any, tower: str) -> dict[str, Any]:
    block = blocks[0]
    if not hasattr(block, "attn") or not hasattr(block.mlp, "c_fc"):
        raise ExportError(f"transformers' CLIPModel has no place for the {tower} tower's {type(block).__name__}. Use --format open_clip.")
    return {
        "hidden_size": block.attn.embed_dim,
        "intermediate_size": block.mlp.c_fc.out_features,
        "num_hidden_layers": len(blocks),
        "num_attention_heads": block.attn.num_heads,
        "hidden_act": activation(block.mlp.gelu),
        "layer_norm_eps": block.ln_1.eps,
    }


def activation(module: nn.Module) -> str:
    """Its name in transformers.

    Raises:
        ExportError: it is none of CLIP's.
    """
    if isinstance(module, QuickGELU):
        return "quick_gelu"
    if isinstance(module, nn.GELU):
        return "gelu" if module.approximate == "none" else "gelu_pytorch_tanh"
    raise ExportError(f"transformers' CLIP has no activation {type(module).__name__}. Use --format open_clip.")


def encoder_layer(block: Any, prefix: str) -> dict[str, Tensor]:
    """One of open_clip's residual blocks under transformers' names."""
    found = attention(block.attn.in_proj_weight, block.attn.in_proj_bias, block.attn.out_proj, f"{prefix}self_attn.")
    parts = {"layer_norm1": block.ln_1, "layer_norm2": block.ln_2, "mlp.fc1": block.mlp.c_fc, "mlp.fc2": block.mlp.c_proj}
    return {**found, **named(parts, prefix)}


def attention(weight: Tensor, bias: Tensor, out: nn.Module, prefix: str) -> dict[str, Tensor]:
    """Query, key and value apart."""
    found: dict[str, Tensor] = {}
    for name, w, b in zip(("q_proj", "k_proj", "v_proj"), weight.chunk(3), bias.chunk(3), strict=True):
        found |= {f"{prefix}{name}.weight": w, f"{prefix}{name}.bias": b}
    return {**found, **named({"out_proj": out}, prefix)}


def named(parts: dict[str, Any], prefix: str) -> dict[str, Tensor]:
    """Modules' weights and biases, under other names."""
    return {f"{prefix}{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()}


def _vision(tower: Any) -> dict[str, Tensor]:
    prefix = "vision_model."
    return {
        f"{prefix}embeddings.class_embedding": tower.class_embedding,
        f"{prefix}embeddings.patch_embedding.weight": tower.conv1.weight,
        f"{prefix}embeddings.position_embedding.weight": tower.positional_embedding,
        **named({"pre_layrnorm": tower.ln_pre, "post_layernorm": tower.ln_post}, prefix),  # so spelled there
        "visual_projection.weight": tower.proj.T,
    }


def _text(tower: Any) -> dict[str, Tensor]:
    projection = tower.text_projection
    if isinstance(projection, nn.Linear):
        if projection.bias is not None:
            raise ExportError("transformers' CLIPModel has no place for the bias of the text projection. Use --format open_clip.")
        projection = projection.weight.T
    if projection is None:
        raise ExportError("transformers' CLIPModel has no place for a text tower without projection. Use --format open_clip.")
    prefix = "text_model."
    return {
        f"{prefix}embeddings.token_embedding.weight": tower.token_embedding.weight,
        f"{prefix}embeddings.position_embedding.weight": tower.positional_embedding,
        **named({"final_layer_norm": tower.ln_final}, prefix),
        "text_projection.weight": projection.T,
    }


def put(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Put weights into a model of transformers, all of them."""
    found = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    lacking, unknown = model.load_state_dict(found, strict=False)
    lacking = [name for name in lacking if not name.endswith("position_ids")]  # a counter
    if lacking or unknown:
        raise ExportError(f"transformers' {type(model).__name__} has {lacking[:2]} and lacks {unknown[:2]}. Use --format open_clip.")


def _kind(tower: nn.Module) -> str:
    trunk = getattr(tower, "trunk", tower)
    return type(trunk).__name__
