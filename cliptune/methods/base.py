"""The contract of every method: what it adds, what of the backbone learns, and how rows and logits come about."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

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
        texts: [C][T], the texts of each class, one per template.
        preprocess: the backbone's, whose tokenizer reads the texts.
        templates: that the texts are of, where that is known.
    """

    def __init__(self, names: Sequence[str], texts: Sequence[Sequence[str]], preprocess: Preprocess, templates: Sequence[str] = ()) -> None:
        self.names, self.texts, self.preprocess = list(names), [list(of_class) for of_class in texts], preprocess
        self.templates = list(templates)

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def tokens(self) -> Tensor:
        """[C, T, L], on the CPU."""
        flat = self.preprocess.tokenize([text for of_class in self.texts for text in of_class])
        return flat.unflatten(0, (len(self.texts), -1))


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
        """A row for each class: the mean of its templates' unit rows, made unit again (Radford et al. 2021, sec. 3.1.4)."""
        tokens = classes.tokens.to(backbone.mean.device)
        rows = in_chunks(lambda part: self.text_rows(backbone, part), tokens.flatten(0, 1), self.chunk_size, CLASS_CHUNK)
        return ClassRows(mean_rows(rows, tokens.shape[1]), backbone.logit_bias)

    def logits(self, backbone: Backbone, image_rows: Tensor, class_rows: ClassRows) -> Tensor:
        """[B, C] of rows."""
        return similarity(image_rows, class_rows.rows, backbone.logit_scale, class_rows.bias)

    def audit(self, backbone: Backbone) -> str:
        """Prove, before training, that all that learns changes the rows; what was found, as lines for the log."""
        return ""

    def report(self, backbone: Backbone) -> str:
        """Say after training what was learned, as lines for people; empty where there is nothing to read."""
        return ""

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

    def solve(self, backbone: Backbone, train: LabelledRows, validation: LabelledRows) -> float:
        """Learn from all rows at once.

        Args:
            backbone: the CLIP; frozen.
            train: all rows of the training split.
            validation: those that choose what is to be chosen.

        Returns:
            The loss on the training rows.
        """
        raise NotImplementedError

    def after_step(self, backbone: Backbone) -> None:
        """Called after every optimizer step; for bounds on parameters."""


def mean_rows(rows: Tensor, templates: int) -> Tensor:
    """[C, D], of unit length, of the unit rows [C * T, D] of the classes' texts."""
    return nn.functional.normalize(rows.unflatten(0, (-1, templates)).mean(dim=1), dim=-1)
