"""The contract of every method: what it adds, what of the backbone learns, and how rows and logits come about."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.described import Described
from cliptune.objectives import similarity

CLASS_CHUNK = 512  # texts encoded at a time, so that thousands of classes do not fill the memory


class Group(dict[str, object]):
    """Parameters with their `lr_factor` and whether they decay: an optimizer's group before it has a learning rate."""


class Method(Described, nn.Module, ABC):
    """Decides what learns. Owns only the parameters that it adds; the backbone is passed in and never stored."""

    @abstractmethod
    def attach(self, backbone: Backbone, class_names: list[str]) -> None:
        """Freeze, and add what is added. Called once, before the optimizer is built.

        Raises:
            ConfigError: the method cannot work on this backbone, with the way out.
        """

    @abstractmethod
    def groups(self, backbone: Backbone) -> list[Group]:
        """The parameters that learn, in groups of one learning-rate factor and one weight decay."""

    @abstractmethod
    def learned(self, backbone: Backbone) -> Iterable[str]:
        """The names in `backbone.state_dict()` that training changes, buffers such as batch statistics included."""

    def train_mode(self, backbone: Backbone) -> None:
        """Put what learns into training mode and everything frozen into evaluation mode (batch statistics, dropout)."""
        backbone.train()

    def image_rows(self, backbone: Backbone, images: Tensor) -> Tensor:
        """[B, D] of images [B, 3, H, W]."""
        return backbone.encode_image(images)

    def text_rows(self, backbone: Backbone, tokens: Tensor) -> Tensor:
        """[N, D] of tokens [N, L]."""
        return backbone.encode_text(tokens)

    def class_rows(self, backbone: Backbone, tokens: Tensor) -> Tensor:
        """One row per class: the mean of its templates' unit rows, made unit again (Radford et al. 2021, sec. 3.1.4).

        Args:
            backbone: the CLIP.
            tokens: [C, T, L]: classes, templates, tokens.

        Returns:
            [C, D].
        """
        flat = tokens.flatten(0, 1)
        rows = torch.cat([self.text_rows(backbone, part) for part in flat.split(CLASS_CHUNK)])
        return nn.functional.normalize(rows.unflatten(0, tokens.shape[:2]).mean(dim=1), dim=-1)

    def logits(self, backbone: Backbone, image_rows: Tensor, text_rows: Tensor) -> Tensor:
        """[B, C] of rows."""
        return similarity(image_rows, text_rows, backbone.logit_scale, backbone.logit_bias)

    def after_step(self, backbone: Backbone) -> None:
        """Called after every optimizer step; for bounds on parameters."""
