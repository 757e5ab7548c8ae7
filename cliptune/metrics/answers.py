"""What a model answered on a split, image by image: all that metrics, intervals, reports and comparisons are made of."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

TOP = 5  # classes, or texts and images found, that are kept of each answer
MOST_PROBABILITIES = 2**27  # numbers, half a GB: above that only the best classes of each image are kept


@dataclass
class ClassAnswers:
    """What was said of N labelled images, in the order of the split, on the CPU.

    Args:
        number: [N], the images' rows in the split.
        label: [N], their classes; the first of each, where images may have several.
        several: [N, C], whether an image is of a class, where images may have several.
        top: [N, K], the K = min(`TOP`, C) most probable classes, best first.
        top_probability: [N, K].
        label_probability: [N], of the image's class.
        probabilities: [N, C]; None where these were more than `MOST_PROBABILITIES`.
        classes: C.
    """

    number: Tensor
    label: Tensor
    several: Tensor | None
    top: Tensor
    top_probability: Tensor
    label_probability: Tensor
    probabilities: Tensor | None
    classes: int

    def __len__(self) -> int:
        return len(self.number)


@dataclass
class RetrievalAnswers:
    """What was found for N images among M texts and the other way round, on the CPU.

    Args:
        number: [N], the images' rows in the split, in order.
        image_rank: [N], wrong texts before the first right one; what is equal to it counts as before it.
        image_precision: [N], average precision among the first ten texts.
        image_top: [N, `TOP`], places of the best texts in 0..M-1; -1 where there are no more.
        image_score: [N, `TOP`], their cosines.
        owner: [M], the place in 0..N-1 of the image that each text is of.
        text_rank: [M].
        text_precision: [M].
        text_top: [M, `TOP`], places in 0..N-1.
        text_score: [M, `TOP`].
    """

    number: Tensor
    image_rank: Tensor
    image_precision: Tensor
    image_top: Tensor
    image_score: Tensor
    owner: Tensor
    text_rank: Tensor
    text_precision: Tensor
    text_top: Tensor
    text_score: Tensor

    def __len__(self) -> int:
        return len(self.number)


class Answers(NamedTuple):
    """What a pass has heard, of all processes."""

    classes: ClassAnswers | None
    retrieval: RetrievalAnswers | None
    rows: Tensor | None = None  # [N, D] of the labelled images, where they are wanted
