"""What a step compares, `StepRows`, and the base of the losses on it.

A loss is that of the whole batch, over all processes: each gives its share, times the number of processes, so that the mean of what they
give, and of their gradients, is the loss and the gradient of one process that holds all rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.described import Described
from cliptune.distributed import gather_rows, rank, sizes_of, world
from cliptune.errors import ConfigError, did_you_mean
from cliptune.optim import Group

IDENTITIES = ("label", "caption", "image")  # the columns of `identity`; -1 is "not known"
CAPTION = IDENTITIES.index("caption")


@dataclass(frozen=True)
class StepRows:
    """The rows of this process's part of a batch, and of all processes where an objective asks for them. Rows are of unit length."""

    images: Tensor  # [B, D]
    scale: Tensor  # the factor on the cosines
    bias: Tensor | None = None  # SigLIP's, added to each logit
    texts: Tensor | None = None  # [B, D], the text of each image
    identity: Tensor | None = None  # [B, 3], see IDENTITIES
    negatives: Tensor | None = None  # [H, D], texts that are nobody's
    negative_identity: Tensor | None = None  # [H], as the caption's column of `identity`
    classes: Tensor | None = None  # [C, D], the same on every process
    class_bias: Tensor | None = None  # [C] or a scalar
    label: Tensor | None = None  # [B], -1 where not known
    labels: Tensor | None = None  # [B, C], 1 for each class of an image, where images may have several
    teacher: "StepRows | None" = None  # what the untouched CLIP says of the same
    drift: Tensor | None = None  # the squared distance of what learns from where it started

    @cached_property
    def sizes(self) -> list[list[int]]:
        """B and H of every process."""
        return sizes_of(len(self.images), 0 if self.negatives is None else len(self.negatives), device=self.images.device)

    @property
    def count(self) -> int:
        """The images of all processes."""
        return sum(self.sizes[0])

    @property
    def start(self) -> int:
        """The place of this process's first image among them."""
        return sum(self.sizes[0][: rank()])

    @property
    def share(self) -> float:
        """The factor on a sum over this process's images that makes it a mean over all: processes / images."""
        return world() / self.count

    @cached_property
    def all_texts(self) -> Tensor:
        """[N, D], the texts of all processes."""
        assert self.texts is not None
        return gather_rows(self.texts.float(), self.sizes[0])

    @cached_property
    def all_identity(self) -> Tensor:
        """[N, 3]."""
        assert self.identity is not None
        return gather_rows(self.identity, self.sizes[0])

    @cached_property
    def all_negatives(self) -> Tensor | None:
        """[sum of H, D]; None where no process has any."""
        if not sum(self.sizes[1]):
            return None
        assert self.texts is not None
        own = self.texts[:0] if self.negatives is None else self.negatives  # with a gradient on every process, or some would wait for it
        return gather_rows(own.float(), self.sizes[1])

    @cached_property
    def all_negative_identity(self) -> Tensor | None:
        """[sum of H]."""
        if not sum(self.sizes[1]):
            return None
        assert self.identity is not None
        return gather_rows(self.identity[:0, CAPTION] if self.negative_identity is None else self.negative_identity, self.sizes[1])


class Objective(Described, nn.Module, ABC):
    """Base of the losses. `needs` says what it compares images with: each one's own text, `pairs`, or a row per class, `classes`."""

    needs: ClassVar[frozenset[str]] = frozenset()
    needs_teacher: bool = False  # `StepRows.teacher`
    needs_drift: bool = False  # `StepRows.drift`

    def attach(self, backbone: Backbone, counts: list[int] | None = None) -> None:
        """Let learn what the objective itself has learn; once, after the method is attached.

        Args:
            backbone: the CLIP.
            counts: training images of each class, where that is known.
        """

    def groups(self, backbone: Backbone) -> list[Group]:
        """What learns beside what the method has learn."""
        return []

    def learned(self, backbone: Backbone) -> Iterable[str]:
        """The names in `backbone.state_dict()` of such."""
        return ()

    def parts(self, rows: StepRows) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss, and where it is a sum, its parts by name."""
        return self(rows), {}

    @abstractmethod
    def forward(self, rows: StepRows) -> Tensor:
        """Give this process's share of the loss, times the number of processes.

        Args:
            rows: of this process.

        Returns:
            A scalar, float32; the mean over the processes is the loss of the whole batch.
        """


def named(kind: type) -> str:
    """`FeatureDistillation` as the log has it: `feature_distillation`."""
    name = kind.__name__
    return "".join(f"_{c.lower()}" if c.isupper() and name[max(i - 1, 0)].islower() else c.lower() for i, c in enumerate(name))


def identity_columns(objective: str, same: Sequence[str]) -> list[int]:
    """The numbers of the columns of `StepRows.identity`; ConfigError for a name that is none."""
    same = [same] if isinstance(same, str) else same
    for name in same:
        if name not in IDENTITIES:
            raise ConfigError(f"{objective}: same has the unknown {name!r}. {did_you_mean(name, IDENTITIES)}")
    return [IDENTITIES.index(name) for name in same]


def check_smoothing(objective: str, value: float) -> None:
    """Raise ConfigError where it is no share."""
    if not 0 <= value < 1:
        raise ConfigError(f"{objective}: label_smoothing {value} is not in 0..1. Take 0.1, or 0 for none.")


def zero(rows: StepRows) -> Tensor:
    """A loss of nothing that still has a gradient."""
    return rows.images.sum() * torch.zeros((), device=rows.images.device)
