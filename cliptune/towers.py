"""Where a tower's blocks are, read from its structure: open_clip's ViT, ResNet and text towers, timm's and Hugging Face's alike."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

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
SAMPLE = 64  # values of each tensor by which a fingerprint is known again
OUTSIDE_TEXT = ("visual", "logit_scale", "logit_bias")  # parts of a plain CLIP that are not its text tower

_known: WeakKeyDictionary[nn.Module, dict[int, tuple[str, object]]] = WeakKeyDictionary()  # fingerprints, by what they were read of


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


def depths(tower: nn.Module, names: list[str] | None = None) -> tuple[dict[str, int], int]:
    """How deep each parameter lies.

    Args:
        tower: an image or text tower.
        names: of parameters and buffers; all parameters where not given.

    Returns:
        A map from name to depth, 0 for the stem, 1 to N for the blocks, N + 1 for the head; and N.
    """
    order = [name for name, _ in blocks(tower)]
    found: dict[str, int] = {}
    for name in parameters(tower) if names is None else names:
        inside = [i for i, block in enumerate(order, start=1) if name.startswith(block + ".")]
        parts = name.split(".")
        telling = [part in HEAD_PARTS for part in parts if part in HEAD_PARTS or "embed" in part]  # patch_embed.proj is no head
        found[name] = inside[0] if inside else (len(order) + 1 if telling and telling[0] else 0)
    return found, len(order)


def last_product(tower: nn.Module) -> Tensor | None:
    """The matrix that turns what an image tower says into rows: [width, D]; None where nothing of that kind ends it."""
    for found in (getattr(tower, "proj", None), getattr(getattr(tower, "head", None), "proj", None), getattr(tower, "attnpool", None)):
        found = getattr(found, "c_proj", found)
        if isinstance(found, nn.Linear):
            return found.weight.detach().T
        if isinstance(found, Tensor) and found.ndim == 2:
            return found.detach()
    return None


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


def fingerprint(tower: nn.Module, count: int) -> str:
    """Identify, by every bit of them, the weights of what comes before block `count` (from 0), or of all where there are fewer blocks.

    They are read again where one was moved or changed since they were read before: by its version, which some ways to change leave as it
    was (`tensor.data`, fused optimizers), and by some of its values.
    """
    state = {name: value for name, value in tower.state_dict().items() if not name.startswith(OUTSIDE_TEXT)}
    marks, known = _marks(state.values()), _known.setdefault(tower, {})
    if marks is None or known.get(count, ("", None))[1] != marks:
        known[count] = _digest(tower, state, count), marks
    return known[count][0]


def _marks(values: Collection[Tensor]) -> object:
    """What is another where one of these was changed or moved; None where that cannot be told."""
    if any(type(value) is not Tensor or value.is_inference() or value.is_complex() for value in values):
        return None
    seen = [value.flatten()[:: max(value.numel() // SAMPLE, 1)].double() for value in values]
    return [(value.data_ptr(), value._version) for value in values], torch.cat(seen).cpu().numpy().tobytes()


def _digest(tower: nn.Module, state: Mapping[str, Tensor], count: int) -> str:
    depth, blocks_there = depths(tower, list(state))
    digest = hashlib.blake2b(digest_size=16)
    for name, value in state.items():
        if depth[name] <= count or count > blocks_there:
            digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class _Reached(Exception):  # noqa: N818 - no error
    def __init__(self, inner: Tensor) -> None:
        self.inner = inner


class _Passing(nn.Module):
    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return x


def enter(tower: nn.Module, count: int, run: Callable[[], Any]) -> Tensor:
    """What enters block `count` (from 0) when the tower runs; the rest is not run.

    Args:
        tower: an image or text tower.
        count: the number of blocks before.
        run: a forward pass through the tower.
    """

    def stop(module: nn.Module, args: tuple[Any, ...]) -> None:
        raise _Reached(args[0])

    hook = blocks(tower)[count][1].register_forward_pre_hook(stop)
    try:
        run()
    except _Reached as reached:
        return reached.inner
    finally:
        hook.remove()
    raise RuntimeError(f"the tower does not run its block {count}")


@contextmanager
def entered(tower: nn.Module, count: int, inner: Tensor) -> Iterator[None]:
    """While it lasts, the first `count` blocks are passed by, and `inner` enters the next one."""
    named = blocks(tower)

    def replace(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (inner, *args[1:])

    hook = named[count][1].register_forward_pre_hook(replace)
    for name, _ in named[:count]:
        tower.set_submodule(name, _Passing())
    try:
        yield
    finally:
        hook.remove()
        for name, block in named[:count]:
            tower.set_submodule(name, block)
