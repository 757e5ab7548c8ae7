"""The contract of every method: what it adds, what of the backbone learns, and how rows and logits come about."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cliptune import towers as T
from cliptune.backbone import Backbone
from cliptune.chunks import in_chunks
from cliptune.described import Described
from cliptune.errors import ConfigError, ExportError
from cliptune.objectives.base import Objective
from cliptune.optim import Group
from cliptune.preprocess import Preprocess
from cliptune.similarity import similarity

CLASS_CHUNK = 512  # texts encoded at a time, so that thousands of classes do not fill the memory


class ClassTexts:
    """The classes of the data and the texts around each name.

    Args:
        names: of the classes.
        texts: [C][T], the texts of each class: one per template, or its own descriptions, of which each has as many as it has.
        preprocess: the backbone's, whose tokenizer reads the texts.
        templates: that the texts are of; none where they are descriptions, or where that is not known.
    """

    def __init__(self, names: Sequence[str], texts: Sequence[Sequence[str]], preprocess: Preprocess, templates: Sequence[str] = ()) -> None:
        self.names, self.texts, self.preprocess = list(names), [list(of_class) for of_class in texts], preprocess
        self.templates = list(templates)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def counts(self) -> list[int]:
        """How many texts each class has."""
        return [len(of_class) for of_class in self.texts]

    @cached_property
    def tokens(self) -> Tensor:
        """[N, L] of all texts, class after class, on the CPU."""
        return self.preprocess.tokenize([text for of_class in self.texts for text in of_class])


class ClassRows(NamedTuple):
    """What images are compared with."""

    rows: Tensor  # [C, D]
    bias: Tensor | None = None  # added to the logits: [C] or a scalar


class LabelledRows(NamedTuple):
    """A whole split as rows."""

    rows: Tensor  # [N, D], of unit length
    labels: Tensor  # [N], class numbers


class Method(Described, nn.Module, ABC):
    """Decides what learns. Owns only the parameters that it adds; the backbone is passed in and never stored."""

    chunk_size: int | None = None  # texts whose activations are kept at a time; the module sets it
    bound_to_classes = False  # whether what was learned is of these classes alone, and says nothing of other words

    @abstractmethod
    def attach(self, backbone: Backbone, classes: ClassTexts) -> None:
        """Freeze, and add what is added. Called once, before the optimizer is built.

        Args:
            backbone: the CLIP, untouched.
            classes: of the data; empty where it has none.

        Raises:
            ConfigError: the method cannot work on this backbone or without classes, with the way out.
        """

    @abstractmethod
    def groups(self, backbone: Backbone) -> list[Group]:
        """The parameters that learn, in groups of one learning-rate factor and one weight decay."""

    def learned(self, backbone: Backbone) -> Iterable[str]:
        """The names in `backbone.state_dict()` that training changes, buffers such as batch statistics included."""
        return ()

    def check(self, objective: Objective) -> None:
        """Refuse an objective that this method cannot serve.

        Raises:
            ConfigError: with the objective that fits.
        """

    def train_mode(self, backbone: Backbone) -> None:
        """Put what learns into training mode and everything frozen into evaluation mode (batch statistics, dropout)."""
        backbone.eval()

    def frozen(self, backbone: Backbone) -> dict[str, int]:
        """How much of each tower gives what the untouched CLIP gives, from its input on, so that it need be computed only once.

        Returns:
            For `image` and `text` the number of leading blocks (`towers.blocks`), one more than there are for the whole tower.
        """
        found = {}
        for name, tower in backbone.towers().items():
            depth, count = T.depths(tower)
            learning = [depth[key] for key, p in T.parameters(tower).items() if p.requires_grad]
            found[name] = max(min(min(learning), count) - 1, 0) if learning else count + 1  # a head learns behind the last block
        return found

    def image_rows(self, backbone: Backbone, images: Tensor) -> Tensor:
        """[B, D] of images [B, 3, H, W]."""
        return backbone.encode_image(images)

    def text_rows(self, backbone: Backbone, tokens: Tensor) -> Tensor:
        """[N, D] of tokens [N, L]."""
        return backbone.encode_text(tokens)

    def class_rows(self, backbone: Backbone, classes: ClassTexts) -> ClassRows:
        """A row for each class: the mean of its texts' unit rows, made unit again (Radford et al. 2021, sec. 3.1.4)."""
        tokens = classes.tokens.to(backbone.mean.device)
        rows = in_chunks(lambda part: self.text_rows(backbone, part), tokens, self.chunk_size, CLASS_CHUNK)
        return ClassRows(mean_rows(rows, classes.counts), backbone.logit_bias)

    def logits(self, backbone: Backbone, image_rows: Tensor, class_rows: ClassRows) -> Tensor:
        """[B, C] of rows."""
        return similarity(image_rows, class_rows.rows, backbone.logit_scale, class_rows.bias)

    def audit(self, backbone: Backbone) -> str:
        """Prove, before training, that all that learns changes the rows; what was found, as lines for the log."""
        return ""

    @property
    def learns_class_rows(self) -> bool:
        """Whether class rows are learned, so that the classes' texts no longer say what they are."""
        return False

    def facts(self, backbone: Backbone, start: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Say after training what was learned, as plain data for `summary.json`; empty where there is nothing to read.

        Args:
            backbone: with what was learned.
            start: what learned, as it was before, by its name in the backbone's state dict, where that is at hand.
        """
        return {}

    def as_lines(self, facts: dict[str, Any]) -> list[str]:
        """What `facts` gave, as lines for people."""
        return []

    @property
    def starts_as_clip(self) -> bool:
        """Whether before training it scores its classes as the untouched CLIP does."""
        return True

    @property
    def changes_weights(self) -> bool:
        """Whether the backbone's own weights learn, so that the untouched CLIP must be kept as a copy where it is asked for."""
        return False

    @contextmanager
    def untouched(self, backbone: Backbone) -> Iterator[None]:
        """While it lasts, the backbone encodes as before training; where `changes_weights`, it does not."""
        yield

    def drift(self, backbone: Backbone, start: Backbone | None) -> Tensor:
        """The squared distance of what learns from where it started, a scalar with a gradient.

        Args:
            backbone: with what was learned.
            start: a copy of the untouched one, where `changes_weights`.

        Raises:
            ConfigError: it is not known here.
        """
        raise ConfigError(f"L2SP does not know where what {type(self).__name__} learns started. Leave it out.")

    def zero_shot(self, backbone: Backbone, start: Backbone, classes: ClassTexts) -> dict[str, Tensor]:
        """What the tensors that learned would be in the untouched CLIP, so that a share of the way back can be gone.

        Args:
            backbone: with what was learned.
            start: the untouched one.
            classes: that were adapted to.

        Returns:
            By name: `backbone.` or `method.`, and the name in its state dict.

        Raises:
            ExportError: no straight way leads back.
        """
        raise ExportError(f"what {type(self).__name__} learns has no straight way back to zero-shot. Leave --blend out.")

    def fold(self, backbone: Backbone) -> None:
        """Write what was learned into the backbone's plain CLIP weights.

        Raises:
            ExportError: it is not of that kind.
        """
        raise ExportError(f"what {type(self).__name__} learns is no weight of a plain CLIP. Save the checkpoint instead.")

    @property
    def solves(self) -> bool:
        """Whether training is one call of `solve` over all rows, and no steps over batches."""
        return False

    def solve(self, backbone: Backbone, objective: Objective, train: LabelledRows, validation: LabelledRows) -> float:
        """Learn from all rows at once.

        Args:
            backbone: the CLIP; frozen.
            objective: what is minimised.
            train: all rows of the training split.
            validation: those that choose what is to be chosen.

        Returns:
            The loss on the training rows.
        """
        raise NotImplementedError

    def after_step(self, backbone: Backbone) -> None:
        """Called after every optimizer step; for bounds on parameters."""


def mean_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Each class's own mean, made unit again.

    Args:
        rows: [N, D], the unit rows of the classes' texts, class after class.
        counts: [C], how many each class has; N in all.

    Returns:
        [C, D].
    """
    if len(set(counts)) == 1:
        means = rows.unflatten(0, (len(counts), counts[0])).mean(dim=1)
    else:
        means = torch.stack([part.mean(dim=0) for part in rows.split(list(counts))])
    return nn.functional.normalize(means, dim=-1)
