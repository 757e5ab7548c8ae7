"""The gradient of a loss over blocks of logits, summed up block by block."""

import torch
from torch import Tensor


class Pull:
    """What a loss of scale * images @ others.T pulls its parts by.

    Args:
        images: [B, D].
        others: [N, D], texts or negatives.
        scale: the factor on the cosines.
        learn: whether the others want a gradient, which is a third of the work.
    """

    def __init__(self, images: Tensor, others: Tensor, scale: Tensor, learn: bool = True) -> None:
        self.images, self.others, self.scale = images, others, scale
        self.of_images, self.of_scale = torch.zeros_like(images), images.new_zeros(())
        self.of_others = torch.zeros_like(others) if learn else None

    def add(self, part: slice, slope: Tensor) -> None:
        """Take a block.

        Args:
            part: of the images.
            slope: [b, N], the gradient of the logits.
        """
        pulled = slope @ self.others
        self.of_images[part] += pulled
        self.of_scale += (pulled * self.images[part]).sum()
        if self.of_others is not None:
            self.of_others.addmm_(slope.T, self.images[part] * self.scale)
