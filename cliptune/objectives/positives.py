"""Which texts of a batch are an image's own: its text, and all that are the same by some identity; in blocks, never as a whole."""

import torch
from torch import Tensor

from cliptune.distributed import gather_rows
from cliptune.objectives.base import CAPTION, StepRows

BLOCK = {"cpu": 2**22, "cuda": 2**26}  # numbers of a block of the matrix: 16 MB, which stays near the cache, and 256 MB


class Positives:
    """The matches of this process's images among all texts.

    Args:
        rows: of the step.
        columns: the identities that count, as numbers of columns.
    """

    def __init__(self, rows: StepRows, columns: list[int]) -> None:
        self.start, self.total, self.own, self.device = rows.start, rows.count, len(rows.images), rows.images.device
        found = (_numbered(rows.all_identity[:, column]) for column in columns)
        self.keys = [keys for keys in found if keys is not None]
        self.extra = _special(rows) if rows.all_negatives is not None else None
        self.width = self.total + sum(rows.sizes[1])
        self.counts = torch.ones(self.total, device=self.device)  # matches of each text, itself included
        if self.keys:
            own = [self.block(part).sum(dim=1) for part in self.parts()]
            self.counts = gather_rows(torch.cat(own), rows.sizes[0]).float()  # by symmetry those of the columns too

    @property
    def twins(self) -> bool:
        """Whether any text of the batch matches an image that is not its own."""
        return bool(self.keys)

    def parts(self) -> list[slice]:
        """This process's images in parts, of which a block holds the logits of one."""
        size = max(BLOCK.get(self.device.type, BLOCK["cpu"]) // self.width, 1)
        return [slice(i, min(i + size, self.own)) for i in range(0, self.own, size)]

    def block(self, part: slice) -> Tensor:
        """[b, N], bool: the matches of a part of this process's images."""
        place = slice(self.start + part.start, self.start + part.stop)
        size = part.stop - part.start
        match = torch.zeros(size, self.total, dtype=torch.bool, device=self.device)
        for keys in self.keys:
            match |= keys[place, None] == keys[None]
        i = torch.arange(size, device=self.device)
        match[i, i + place.start] = True
        return match

    def mine(self, part: slice) -> Tensor:
        """[b, 1]: how many matches each of these images has."""
        return self.counts[self.start + part.start : self.start + part.stop, None]

    def hidden(self, part: slice) -> Tensor | None:
        """[b, H], bool: the negatives that are in truth texts of the image's own; None where there are none such."""
        if self.extra is None:
            return None
        caption, negative, count = self.extra
        matched = torch.zeros(part.stop - part.start, count + 1, device=self.device)
        matched.index_add_(1, caption, self.block(part).float())
        matched[:, -1] = 0  # of what is no caption of the batch
        return matched[:, negative] > 0


def _numbered(identity: Tensor) -> Tensor | None:
    """[N], int32: equal where the identity is; what is not known is like nothing else. None where all differ, which needs no comparing."""
    _, number = torch.unique(identity, return_inverse=True)
    unknown = identity < 0
    number = torch.where(unknown, len(identity) + torch.arange(len(identity), device=identity.device), number)
    return number.int() if len(torch.unique(number)) < len(number) else None


def _special(rows: StepRows) -> tuple[Tensor, Tensor, int] | None:
    """Numbers of the batch's captions, for each text [N] and each negative [H] (the last for what is none), and how many there are."""
    extra = rows.all_negative_identity
    assert extra is not None
    known, caption = torch.unique(rows.all_identity[:, CAPTION], return_inverse=True)
    place = torch.searchsorted(known, extra).clamp(max=len(known) - 1)
    found = (known[place] == extra) & (extra >= 0)
    return (caption, torch.where(found, place, len(known)), len(known)) if found.any() else None
