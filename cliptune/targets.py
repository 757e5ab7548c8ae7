"""Which layers of a tower are q, k, v, out, mlp and conv, by the field's names: read from the structure around each layer.

Names flip between open_clip, timm, Hugging Face and their versions, and suffixes hit what is not meant (`patch_embed.proj`), so a
layer's role follows from its neighbours, and a target is its full name.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from cliptune import towers as T
from cliptune.errors import ConfigError

ROLES = ("q", "k", "v", "out", "mlp", "conv")
NAMES = {"q": ("q", "q_proj", "query"), "k": ("k", "k_proj", "key"), "v": ("v", "v_proj", "value")}
OUT = ("out", "out_proj", "proj", "c_proj", "o")
MLP = ("c_fc", "fc1", "fc2", "fc1_g", "fc1_x", "wi", "wi_0", "wi_1", "wo", "w1", "w2", "w3", "lin1", "lin2")
Layers = str | dict[str, int] | list[int]


class Target(NamedTuple):
    """A layer that can be adapted."""

    name: str  # within the tower
    role: str
    block: int | None  # the block that it lies in; None for the head, which comes after all blocks

    @property
    def pattern(self) -> str:
        """The name with * for numbers."""
        return ".".join("*" if part.isdigit() else part for part in self.name.split("."))


def find(tower: nn.Module) -> list[Target]:
    """Every layer of the tower that has a role, in order. Split the tower's attention first (`attention.split`)."""
    modules = {name: module for name, module in tower.named_modules() if not name.startswith(T.OUTSIDE_TEXT)}
    blocks = [name for name, _ in T.blocks(tower)]
    found = []
    for name, module in modules.items():
        if not isinstance(module, (nn.Linear, nn.Conv2d)):
            continue
        block = next((i for i, start in enumerate(blocks) if name.startswith(f"{start}.")), None)
        role = _role(name, module, modules)
        if role is not None and (role != "conv" or block is not None):  # what convolves before the blocks makes patches
            found.append(Target(name, role, block))
    return found


def choose(tower: nn.Module, name: str, roles: Sequence[str], layers: Layers) -> list[Target]:
    """The targets of these roles in these layers.

    Args:
        tower: its attention split.
        name: `image` or `text`, for messages.
        roles: any of `ROLES`.
        layers: `all`, `{last: N}` for the last N blocks and what follows them, or the numbers of blocks, from 0.

    Raises:
        ConfigError: nothing matches, with what would; or there is no such block.
    """
    count = len(T.blocks(tower))
    known = find(tower)
    wanted = _blocks(layers, count, name)
    found = [target for target in known if target.role in roles and target.block in wanted]
    if not found:
        there = Counter(target.role for target in known if target.block in wanted)
        options = ", ".join(role for role in ROLES if there[role])
        way = f"Set targets to some of [{options}]" if options else "Set layers to all"
        raise ConfigError(
            f"LoRA: targets {', '.join(roles)} match nothing in the {name} tower ({kind(tower)}) at layers {layers}. "
            f"{way}, or towers to the other one."
        )
    return found


def kind(tower: nn.Module) -> str:
    """What the tower is, for messages: timm's class where timm made it."""
    return type(getattr(tower, "trunk", tower)).__name__


def _blocks(layers: Layers, count: int, name: str) -> set[int | None]:
    if layers == "all":
        return {None, *range(count)}
    if isinstance(layers, dict):
        last = layers["last"]
        if last > count:
            raise ConfigError(f"LoRA: layers {{last: {last}}}, but the {name} tower has {count} blocks. Take at most {count}.")
        return {None, *range(count - last, count)}
    odd = [i for i in layers if not 0 <= int(i) < count]
    if odd:
        raise ConfigError(f"LoRA: layers has {odd[0]}, but the {name} tower's {count} blocks are 0 to {count - 1}.")
    return {int(i) for i in layers}


def _role(name: str, module: nn.Module, modules: dict[str, nn.Module]) -> str | None:
    above, _, last = name.rpartition(".")
    beside = {key for key, _ in modules[above].named_children()} if above in modules else set()
    for role, names in NAMES.items():
        if last in names and _attends(beside):
            return role
    if last in OUT and _attends(beside):
        return "out"
    if (last in MLP and above.rpartition(".")[2] != "se") or (
        last == "c_proj" and "c_fc" in beside
    ):  # squeeze-and-excite has fc1 and fc2 too
        return "mlp"
    if last == "dense":  # Hugging Face's BERT and its kin
        parts = name.split(".")
        return "out" if parts[-3:-1] == ["attention", "output"] else "mlp" if parts[-2] in ("intermediate", "output") else None
    return "conv" if isinstance(module, nn.Conv2d) and module.groups == 1 else None  # peft's rank would be a multiple of the groups


def _attends(beside: set[str]) -> bool:
    """Whether such children make an attention: queries and keys, in stand-ins or alone."""
    has = [bool(beside & set(names)) for names in NAMES.values()]
    return "qkv" in beside or (has[0] and "kv" in beside) or sum(has) >= 2
