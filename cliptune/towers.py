"""Where a tower's blocks are, read from its structure: open_clip's ViT, ResNet and text towers, timm's and Hugging Face's alike."""

import re

from torch import nn

# What comes after the blocks; every other parameter outside them comes before.
HEAD_PARTS = (
    "proj",
    "ln_post",
    "ln_final",
    "text_projection",
    "head",
    "attnpool",
    "attn_pool",
    "final_conv",
    "norm",
    "fc_norm",
    "fc",
    "pooler",
    "final_layer_norm",
)
OUTSIDE_TEXT = ("visual", "logit_scale", "logit_bias")  # parts of a plain CLIP that are not its text tower


def blocks(tower: nn.Module) -> list[tuple[str, nn.Module]]:
    """The repeated blocks in order of depth, with their names within the tower.

    ResNet's four layers, ConvNeXt's stages; otherwise the children of the largest list of modules.
    """
    layers = [(name, module) for name, module in tower.named_modules() if re.fullmatch(r"(trunk\.)?layer[1-4]", name)]
    if layers:
        return layers
    lists = [
        (name, module)
        for name, module in tower.named_modules()
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and len(module) > 1 and not name.startswith(OUTSIDE_TEXT)
    ]
    if not lists:
        return []
    name, largest = max(lists, key=lambda item: sum(p.numel() for p in item[1].parameters()))
    return [(f"{name}.{key}", child) for key, child in largest.named_children()]


def parameters(tower: nn.Module) -> dict[str, nn.Parameter]:
    """The tower's own parameters by name; a plain CLIP as text tower gives its text part."""
    return {name: p for name, p in tower.named_parameters() if not name.startswith(OUTSIDE_TEXT)}


def depths(tower: nn.Module) -> tuple[dict[str, int], int]:
    """How deep each parameter lies.

    Returns:
        A map from name to depth, 0 for the stem, 1 to N for the blocks, N + 1 for the head; and N.
    """
    order = [name for name, _ in blocks(tower)]
    found: dict[str, int] = {}
    for name in parameters(tower):
        inside = [i for i, block in enumerate(order, start=1) if name.startswith(block + ".")]
        parts = name.split(".")
        telling = [part in HEAD_PARTS for part in parts if part in HEAD_PARTS or "embed" in part]  # patch_embed.proj is no head
        found[name] = inside[0] if inside else (len(order) + 1 if telling and telling[0] else 0)
    return found, len(order)


def decays(tower: nn.Module) -> set[str]:
    """The names of the parameters that weight decay is right for: matrices and kernels, not norms, scales, biases or embeddings."""
    embeddings = {f"{name}.weight" for name, module in tower.named_modules() if isinstance(module, nn.Embedding)}
    return {
        name
        for name, p in parameters(tower).items()
        if sum(size > 1 for size in p.shape) > 1  # a scale of channels may be [C, 1, 1]
        and name not in embeddings
        and not any(word in name.split(".")[-1] for word in ("embed", "token", "bias"))  # swin's bias table is [N, heads]
    }
