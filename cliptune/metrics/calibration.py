"""Whether probabilities mean what they say: reliability, and the temperature that makes them (Guo et al. 2017, sec. 2, 4.2)."""

from bisect import bisect_left
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cliptune.metrics.answers import ClassAnswers

BINS = 15  # Guo et al. 2017, sec. 5
TEMPERATURES = (0.01, 100.0)
STEPS = 2**20  # between these, so that each is a hundred-thousandth above the one before
NUMBERS = 2**23  # probabilities that a temperature is fitted to: of more, images at even distances are taken
LEAST = torch.finfo(torch.float32).tiny  # what a probability of nothing is taken for: 87 nats


@dataclass
class Reliability:
    """How often answers of a confidence are right; the bins are of equal width, and each holds its upper end.

    Args:
        images: [bins], how many are in each.
        confidence: [bins], their mean; not a number in an empty bin.
        accuracy: [bins], the share of them that is right.
    """

    images: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def error(self) -> float:
        """The expected calibration error."""
        return float(((self.confidence - self.accuracy).abs() * self.images).nansum() / self.images.sum())


def bins_of(confidence: Tensor, bins: int = BINS) -> Tensor:
    """[N], the bin of each: (0, 1/bins], (1/bins, 2/bins], ..."""
    return ((confidence.double() * bins).ceil().long() - 1).clamp(0, bins - 1)


def reliability(answers: ClassAnswers, bins: int = BINS) -> Reliability:
    """Compare confidence, the probability of the best class, with how often this class is right."""
    confidence, place = answers.top_probability[:, 0].double(), bins_of(answers.top_probability[:, 0], bins)
    right = (answers.top[:, 0] == answers.label).double()
    images, sums, hits = (torch.bincount(place, part, minlength=bins) for part in (torch.ones_like(right), confidence, right))
    return Reliability(images.long(), sums / images, hits / images)


def fit_temperature(answers: ClassAnswers) -> float:
    """The temperature that makes these answers' labels likeliest, in `TEMPERATURES`: above 1 for a model that is too sure of itself.

    A few images that are all right would ask for certainty. So each label counts (n + 1) / (n + 2) of n images, and the other classes the
    rest, as the model has them in order: the targets of Platt 1999, "Probabilistic outputs for support vector machines", sec. 2.2.

    Args:
        answers: of validation, with their probabilities.

    Raises:
        ValueError: probabilities were not kept.
    """
    if answers.probabilities is None:
        raise ValueError("A temperature is fitted to probabilities, and these answers kept none.")
    step = -(-len(answers) * answers.classes // NUMBERS)
    chances = answers.probabilities[::step].clamp(min=LEAST)
    logs, label = chances.log(), answers.label[::step, None]
    wrong = chances.scatter(1, label, 0.0)
    beside = (wrong / wrong.sum(dim=1, keepdim=True) * logs).sum(dim=1)
    own = torch.lerp(logs.gather(1, label)[:, 0], beside, 1 / (len(logs) + 2)).double().mean()

    def slope(inverse: float) -> float:
        """Of the mean log-likelihood: what the labels' logits are above what the model expects of them. It falls."""
        return float(own - ((logs * inverse).softmax(dim=1) * logs).sum(dim=1).double().mean())

    def at(step: int) -> float:
        """The inverse of the temperature at a step from the coldest on."""
        coldest, hottest = TEMPERATURES
        return 1 / (coldest * (hottest / coldest) ** (step / STEPS))

    found = bisect_left(range(STEPS), 0.0, key=lambda step: slope(at(step)))
    return 1 / at(found)


def with_temperature(answers: ClassAnswers, temperature: float) -> ClassAnswers:
    """The same answers, of which the probabilities are flatter (above 1) or sharper; the order of classes stays.

    Raises:
        ValueError: probabilities were not kept.
    """
    if answers.probabilities is None:
        raise ValueError("A temperature changes probabilities, and these answers kept none.")
    changed = (answers.probabilities.clamp(min=LEAST).log() / temperature).softmax(dim=1)
    own = changed.gather(1, answers.label[:, None])[:, 0]
    return replace(answers, top_probability=changed.gather(1, answers.top), label_probability=own, probabilities=changed)
