"""Full fine-tuning: the towers' own weights learn, all of them or the last blocks."""

from collections.abc import Iterable, Mapping
from math import log, sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from cliptune import towers as T
from cliptune.backbone import SCALES, Backbone
from cliptune.distributed import unsharded
from cliptune.errors import ConfigError
from cliptune.methods.base import ClassTexts, Method
from cliptune.optim import Group

LOGIT_SCALE_MAX = 100.0  # Radford et al. 2021, sec. 2.5
MOST_CHANGED = 3  # blocks that the log names


class Full(Method):
    """Trains the backbone's own weights.

    Args:
        towers: which towers learn: `both`, `image` or `text`.
        train_last: of each such tower, only the last N blocks and what follows them; all where not given.
        image_lr_factor: factor on the learning rate of the image tower.
        text_lr_factor: factor on the learning rate of the text tower.
        layer_decay: factor on the learning rate for each block further from the output (Clark et al. 2020, ELECTRA); 1 is none.
        logit_scale: `learned` or `frozen`.
        logit_scale_max: upper bound of the learned scale, or the pretrained scale where that is greater (SigLIP's); none where not
            given.

    Raises:
        ConfigError: a value out of range, or more blocks asked for than there are.
    """

    def __init__(
        self,
        towers: Literal["both", "image", "text"] = "both",
        train_last: int | None = None,
        image_lr_factor: float = 1.0,
        text_lr_factor: float = 1.0,
        layer_decay: float = 1.0,
        logit_scale: Literal["learned", "frozen"] = "learned",
        logit_scale_max: float | None = LOGIT_SCALE_MAX,
    ) -> None:
        super().__init__()
        if towers not in ("both", "image", "text"):
            raise ConfigError(f"Full: towers {towers!r} is not known. Take both, image or text.")
        if logit_scale not in ("learned", "frozen"):
            raise ConfigError(f"Full: logit_scale {logit_scale!r} is not known. Take learned or frozen.")
        if logit_scale_max is not None and logit_scale_max <= 0:
            raise ConfigError(f"Full: logit_scale_max {logit_scale_max} is not positive. Take {LOGIT_SCALE_MAX:.0f}, or null for none.")
        if image_lr_factor < 0 or text_lr_factor < 0:
            raise ConfigError(f"Full: a learning-rate factor of {min(image_lr_factor, text_lr_factor)} is negative. Take 1, or 0 for none.")
        if not 0 < layer_decay <= 1:
            raise ConfigError(f"Full: layer_decay {layer_decay} is not in 0..1. Take 0.75, or 1 for none.")
        if train_last is not None and train_last < 0:
            raise ConfigError(f"Full: train_last {train_last} is negative. Take a number of blocks, or null for all.")
        self.names = ("image", "text") if towers == "both" else (towers,)
        self.train_last = train_last
        self.lr_factors = {"image": image_lr_factor, "text": text_lr_factor}
        self.layer_decay = layer_decay
        self.learn_scale = logit_scale == "learned"
        self.log_scale_max = None if logit_scale_max is None else log(logit_scale_max)

    def attach(self, backbone: Backbone, classes: ClassTexts) -> None:
        """Let the chosen blocks learn, and freeze all else."""
        backbone.requires_grad_(False)
        for name in self.names:
            tower = backbone.towers()[name]
            depth, count = T.depths(tower)
            if self.train_last is not None and self.train_last > count:
                raise ConfigError(f"Full: train_last {self.train_last}, but the {name} tower has {count} blocks. Take at most {count}.")
            first = 0 if self.train_last is None else count - self.train_last + 1
            for key, p in T.parameters(tower).items():
                p.requires_grad_(depth[key] >= first)
        if self.log_scale_max is not None:
            self.log_scale_max = max(self.log_scale_max, float(backbone.model.logit_scale))
        backbone.model.logit_scale.requires_grad_(self.learn_scale)  # a bias learns only under Sigmoid: to others it is all the same

    def groups(self, backbone: Backbone) -> list[Group]:
        """A group for each learning-rate factor and decay; none of norms, biases, embeddings and scale decays."""
        found: dict[tuple[float, bool], list[torch.nn.Parameter]] = {}
        for name in self.names:
            tower = backbone.towers()[name]
            depth, count = T.depths(tower)
            decaying = T.decays(tower)
            for key, p in T.parameters(tower).items():
                if p.requires_grad:
                    factor = self.lr_factors[name] * self.layer_decay ** (count + 1 - depth[key])
                    found.setdefault((factor, key in decaying), []).append(p)
        if self.learn_scale:
            found.setdefault((1.0, False), []).append(backbone.model.logit_scale)
        return [Group(params=params, lr_factor=factor, decay=decay) for (factor, decay), params in found.items()]

    @property
    def changes_weights(self) -> bool:
        """They are what learns."""
        return True

    def drift(self, backbone: Backbone, start: Backbone | None) -> Tensor:
        """The squared distance of the towers' weights from the copy's."""
        assert start is not None
        before = dict(start.named_parameters())
        learning = ((name, p) for name, p in backbone.named_parameters() if p.requires_grad and not name.endswith(SCALES))
        return torch.stack([unsharded((p - before[name]).square().sum()) for name, p in learning]).sum()

    @torch.no_grad()
    def facts(self, backbone: Backbone, start: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """`block_changes`: how far the weights of each block that learned are from the start's; nothing where that is not at hand.

        Returns:
            Of each `tower`, `block` (from 0; -1 what comes before the blocks, their number what follows them), the Frobenius `norm` of the
            change, and `relative` to the norm of the weights before.
        """
        if start is None:
            return {}
        found, name_of = [], {id(p): name for name, p in backbone.named_parameters()}
        for tower in self.names:
            depth, _ = T.depths(backbone.towers()[tower])
            sums: dict[int, list[float]] = {}  # of squares, of the change and of the weights before
            for key, p in T.parameters(backbone.towers()[tower]).items():
                if p.requires_grad:
                    before, both = start[name_of[id(p)]].to(p.device), sums.setdefault(depth[key] - 1, [0.0, 0.0])
                    both[0] += float((p - before).float().square().sum())
                    both[1] += float(before.float().square().sum())
            for block, (change, weight) in sorted(sums.items()):
                found.append({"tower": tower, "block": block, "norm": sqrt(change), "relative": sqrt(change / max(weight, 1e-24))})
        return {"block_changes": found}

    def as_lines(self, facts: dict[str, Any]) -> list[str]:
        """Which blocks changed most."""
        most = sorted(facts.get("block_changes", []), key=lambda each: -each["relative"])[:MOST_CHANGED]
        told = ", ".join(f"{each['tower']} {each['block']} {each['relative']:.2%}" for each in most)
        return [f"blocks whose weights changed most, by their norm: {told}"] if most else []

    def learned(self, backbone: Backbone) -> Iterable[str]:
        """The names of the weights that learn, and the batch statistics of the modules that train."""
        for name, p in backbone.named_parameters():
            if p.requires_grad and not name.endswith("logit_bias"):
                yield name
        persistent = backbone.state_dict().keys()
        for prefix, module in backbone.named_modules():
            if any(p.requires_grad for p in module.parameters(recurse=False)):
                yield from (f"{prefix}.{key}" for key, _ in module.named_buffers(recurse=False) if f"{prefix}.{key}" in persistent)

    def train_mode(self, backbone: Backbone) -> None:
        """Modules all of whose own parameters are frozen stay in evaluation mode; those without parameters follow their block."""
        backbone.eval()
        for name in self.names:
            tower = backbone.towers()[name]
            _, count = T.depths(tower)
            if self.train_last is None:
                tower.train()
                if "image" not in self.names:  # a plain CLIP as text tower holds the image tower
                    backbone.towers()["image"].eval()
                continue
            for _, block in T.blocks(tower)[count - self.train_last :]:
                block.train()
            for module in tower.modules():  # of the head, which is no one module
                if any(p.requires_grad for p in module.parameters(recurse=False)):
                    module.training = True

    def zero_shot(self, backbone: Backbone, start: Backbone, classes: ClassTexts) -> dict[str, Tensor]:
        """The weights and statistics that are not those of before."""
        now, before = backbone.state_dict(), start.state_dict()
        floating = (name for name, value in now.items() if value.is_floating_point())
        changed = (name for name in floating if not torch.equal(now[name].flatten(), before[name].flatten()))
        return {f"backbone.{name}": before[name].reshape(now[name].shape) for name in changed}

    def fold(self, backbone: Backbone) -> None:
        """They are plain CLIP weights."""
        backbone.restore_shapes()

    @torch.no_grad()
    def after_step(self, backbone: Backbone) -> None:
        """Keep the scale at its bound."""
        if self.learn_scale and self.log_scale_max is not None:
            backbone.model.logit_scale.clamp_(max=self.log_scale_max)
