"""LoRA (Hu et al. 2021) on any tower, by peft: low-rank changes of chosen layers, proven to be applied.

The default targets, q, k and v of every block of both towers, are those of CLIP-LoRA (Zanella and Ben Ayed 2024, sec. 4).
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from cliptune import adapters, attention
from cliptune import towers as T
from cliptune.audit import audit
from cliptune.backbone import Backbone
from cliptune.errors import ConfigError, ExportError, did_you_mean
from cliptune.methods.base import ClassTexts, Method
from cliptune.optim import Group
from cliptune.targets import ROLES, Layers, Target, choose, find

if TYPE_CHECKING:
    from peft import LoraConfig

MOST_CHANGED = 3  # layers that the log names

log = logging.getLogger(__name__)

VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rslora": {"use_rslora": True},  # Kalajdzievski 2023
    "dora": {"use_dora": True},  # Liu et al. 2024
    "pissa": {"init_lora_weights": "pissa"},  # Meng et al. 2024
}


class LoRA(Method):
    """Adds a product of two thin matrices to chosen layers; nothing else learns.

    Args:
        rank: of the products.
        alpha: the products are scaled by alpha / rank (rsLoRA: alpha / sqrt(rank)); the rank where not given.
        dropout: share of a product's inputs left out in training.
        towers: which towers are adapted: `both`, `image` or `text`.
        layers: `all`, `{last: N}` for the last N blocks and what follows them, or the numbers of blocks, from 0.
        targets: which layers of a block: any of `q`, `k`, `v`, `out`, `mlp` and `conv` (of ResNets and ConvNeXts;
            depthwise convolutions are left alone).
        variant: `plain`, `rslora`, `dora` or `pissa`.
        lr_factor: factor on the optimizer's learning rate, which is that of full fine-tuning: 20 makes CLIP-LoRA's 2e-4 of 1e-5.

    Raises:
        ConfigError: a value out of range; targets that match nothing; an adapter that would do nothing.
    """

    def __init__(
        self,
        rank: int = 4,
        alpha: float | None = None,
        dropout: float = 0.0,
        towers: Literal["both", "image", "text"] = "both",
        layers: Literal["all"] | dict[str, int] | list[int] = "all",
        targets: list[str] | None = None,
        variant: Literal["plain", "rslora", "dora", "pissa"] = "plain",
        lr_factor: float = 20.0,
    ) -> None:
        super().__init__()
        self.targets = ["q", "k", "v"] if targets is None else list(targets)
        self.rank, self.alpha, self.dropout = rank, float(rank if alpha is None else alpha), dropout
        self.names = ("image", "text") if towers == "both" else (towers,)
        self.layers: Layers = layers
        self.variant, self.lr_factor = variant, lr_factor
        self.found: dict[str, list[Target]] = {}  # by tower
        self._check(towers)

    def _check(self, towers: str) -> None:
        if self.rank < 1:
            raise ConfigError(f"LoRA: rank {self.rank} is not positive. Take 2 to 64.")
        if self.alpha <= 0:
            raise ConfigError(f"LoRA: alpha {self.alpha} is not positive. Take the rank, or leave it out.")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"LoRA: dropout {self.dropout} is not in 0..1. Take 0.25, or 0 for none.")
        if towers not in ("both", "image", "text"):
            raise ConfigError(f"LoRA: towers {towers!r} is not known. Take both, image or text.")
        if self.variant not in VARIANTS:
            raise ConfigError(f"LoRA: variant {self.variant!r} is not known. {did_you_mean(self.variant, VARIANTS)}")
        if not self.targets:
            raise ConfigError("LoRA: targets is empty. Take [q, k, v].")
        for role in self.targets:
            if role not in ROLES:
                raise ConfigError(f"LoRA: the target {role!r} is not known. Take of [{', '.join(ROLES)}].")
        if self.variant == "pissa" and "conv" in self.targets:
            raise ConfigError("LoRA: pissa has no form for convolutions. Take variant: plain or dora, or other targets.")
        last = self.layers.get("last") if isinstance(self.layers, dict) else None
        if isinstance(self.layers, dict) and (set(self.layers) != {"last"} or not isinstance(last, int) or last < 1):
            raise ConfigError(f"LoRA: layers {self.layers} is not known. Write all, {{last: 2}}, or numbers of blocks such as [0, 1].")

    def attach(self, backbone: Backbone, classes: ClassTexts) -> None:
        """Split the attention of the chosen towers, and put the products beside the chosen layers."""
        backbone.requires_grad_(False)
        there: set[str] = set()
        for name in self.names:
            tower = backbone.towers()[name]
            attention.split(tower, skip=T.OUTSIDE_TEXT if name == "text" else ())
            self.found[name] = choose(tower, name, self.targets, self.layers)
            there.update(target.role for target in find(tower))
        widest = max(
            (
                _widest(tower.get_submodule(target.name))
                for name, part in self.found.items()
                for target in part
                for tower in [backbone.towers()[name]]
            ),
            default=0,
        )
        if self.rank > 2 * widest:  # beyond it a product has no more ranks than the layer, and only takes memory
            raise ConfigError(f"LoRA: rank {self.rank} is more than twice {widest}, the width of the widest layer. Take 2 to 64.")
        matched = {target.role for part in self.found.values() for target in part}
        unmatched = [role for role in self.targets if role not in matched]
        if unmatched:
            options = ", ".join(role for role in ROLES if role in there)
            raise ConfigError(f"LoRA: the target {unmatched[0]} matches nothing in this backbone. Take of [{options}].")
        adapters.inject(backbone.model, self.peft_config(backbone))

    def peft_config(self, backbone: Backbone) -> "LoraConfig":
        """The adapter in peft's words, for an open_clip model whose attention is split."""
        names = [f"{_prefix(backbone, tower)}{target.name}" for tower, part in self.found.items() for target in part]
        return adapters.library().LoraConfig(  # type: ignore[no-any-return]
            r=self.rank,
            lora_alpha=self.alpha,  # type: ignore[arg-type]  # peft divides it, and takes any number
            lora_dropout=self.dropout,
            target_modules=adapters.pattern(names),
            **VARIANTS[self.variant],
        )

    def audit(self, backbone: Backbone) -> str:
        """Prove that every tensor changes the rows as its gradient says; a table of what was put where.

        Raises:
            ConfigError: one does not.
        """
        learning = adapters.learning(backbone.model)
        lines = ["tower  layers                                             count  rank  parameters"]
        for tower, part in self.found.items():
            prefix = _prefix(backbone, tower)
            own = {name: p for name, p in learning.items() if name.startswith(tuple(f"{prefix}{t.name}." for t in part))}
            audit(backbone, tower, own)
            for pattern, count in Counter(target.pattern for target in part).items():
                sizes = sum(p.numel() for t in part if t.pattern == pattern for n, p in own.items() if n.startswith(f"{prefix}{t.name}."))
                lines.append(f"{tower:<6} {pattern:<50} {count:>5} {self.rank:>5} {sizes:>11,}")
        lines.append(f"each of the {len(learning)} adapter tensors gets a gradient and changes the rows as it says")
        return "\n".join(lines)

    def groups(self, backbone: Backbone) -> list[Group]:
        """The products decay; DoRA's magnitudes do not."""
        parts: dict[bool, list[nn.Parameter]] = {True: [], False: []}
        for name, p in adapters.learning(backbone.model).items():
            parts["magnitude" not in name].append(p)
        return [Group(params=params, lr_factor=self.lr_factor, decay=decay) for decay, params in parts.items() if params]

    def learned(self, backbone: Backbone) -> Iterable[str]:
        """The adapters' tensors, PiSSA's start included: it is not to the bit the same on every machine."""
        starts = tuple(f"model.{name}.lora_" for name in adapters.layers(backbone.model))
        return (name for name in backbone.state_dict() if name.startswith(starts))

    @contextmanager
    def untouched(self, backbone: Backbone) -> Iterator[None]:
        """With the products switched off."""
        with adapters.switched_off(backbone.model):
            yield

    def drift(self, backbone: Backbone, start: Backbone | None) -> Tensor:
        """The squared distance of the adapted layers' weights from the pretrained ones."""
        return torch.stack([adapters.drift(layer) for layer in adapters.layers(backbone.model).values()]).sum()

    @torch.no_grad()
    def facts(self, backbone: Backbone, start: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """`lora_norms`: how far each adapted layer's weight is from the one below, by the Frobenius norm, in the towers' order.

        Returns:
            Of each `tower`, `layer` (its name in the tower), `norm` of the change, and `relative` to the norm of the weight below.
        """
        layers = adapters.layers(backbone.model)
        found = []
        for tower, part in self.found.items():
            for target in part:
                layer = layers[f"{_prefix(backbone, tower)}{target.name}"]
                norm, below = float(adapters.drift(layer).clamp(min=0).sqrt()), float(adapters.norm_below(layer))
                found.append({"tower": tower, "layer": target.name, "norm": norm, "relative": norm / max(below, 1e-12)})
        return {"lora_norms": found}

    def as_lines(self, facts: dict[str, Any]) -> list[str]:
        """How much the layers changed, and which changed most."""
        norms = sorted(facts["lora_norms"], key=lambda each: -each["relative"])
        most = ", ".join(f"{each['tower']} {each['layer']} {each['relative']:.2%}" for each in norms[:MOST_CHANGED])
        middle = norms[len(norms) // 2]["relative"]
        return [f"{len(norms)} layers changed, by {middle:.2%} of their weights' norm in the middle; most of all {most}"]

    def train_mode(self, backbone: Backbone) -> None:
        """Only the adapters' dropout trains."""
        backbone.eval()
        for layer in adapters.layers(backbone.model).values():
            layer.lora_dropout.train()

    def zero_shot(self, backbone: Backbone, start: Backbone, classes: ClassTexts) -> dict[str, Tensor]:
        """The second of each two thin matrices as zero: the weights then go straight back, except DoRA's, which have norms."""
        if self.variant == "dora":
            raise ExportError("a DoRA adapter has no straight way back to zero-shot. Blend its merged weights: --format open_clip.")
        second = (name for name in self.learned(backbone) if ".lora_B." in name)
        return {f"backbone.{name}": torch.zeros_like(backbone.state_dict()[name]) for name in second}

    def fold(self, backbone: Backbone) -> None:
        """Merge into plain CLIP weights: the state dict has its original names again."""
        adapters.merge(backbone.model)
        for tower in backbone.towers().values():
            attention.fold(tower)
        backbone.restore_shapes()

    def save_adapter(self, backbone: Backbone, folder: str | Path) -> None:
        """Write peft's adapter folder, which plain peft loads on an open_clip model after `cliptune.attention.split(model)`."""
        adapters.save(backbone.model, self.peft_config(backbone), folder)

    def describe_adapter(self) -> dict[str, Any]:
        """As `describe`, of the method whose adapter `save_adapter` writes: PiSSA's two products are one of twice the rank there."""
        found = self.describe()
        if self.variant == "pissa":
            found["arguments"] |= {"rank": 2 * self.rank, "alpha": 2 * self.alpha, "variant": "plain"}
        return found


def _widest(layer: Any) -> int:
    """The greater of a Linear's or a convolution's widths."""
    return int(max(layer.weight.shape[0], layer.weight[0].numel()))


def _prefix(backbone: Backbone, tower: str) -> str:
    """How the tower's names begin in the model; a plain CLIP is its own text tower."""
    module = backbone.towers()[tower]
    return next(f"{name}." if name else "" for name, part in backbone.model.named_modules() if part is module)
