"""The formula that every part of cliptune shares, in full float32 whatever the precision around it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def similarity(image_rows: Tensor, text_rows: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compare rows.

    Args:
        image_rows: [B, D].
        text_rows: [C, D].
        scale: the factor on the cosines.
        bias: added to each logit.

    Returns:
        [B, C], float32.
    """
    with exact(image_rows.device):
        logits = scale.float() * image_rows.float() @ text_rows.float().T
        return logits if bias is None else logits + bias.float()


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Without autocast and TF32, whose ten bits of a cosine are a fifth of a logit at scale 100."""
    before = torch.get_float32_matmul_precision() if device.type == "cuda" else "highest"
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)
