"""What is reported: accuracy over class rows by torchmetrics, and recall between images and their captions."""

import torch
from torch import Tensor
from torchmetrics import Metric

RECALL_AT = (1, 5, 10)
BLOCK = 4096  # rows of the similarity matrix held at a time


class Recall(Metric):
    """Recall at 1, 5 and 10 both ways, an image with any number of captions (Karpathy and Fei-Fei 2015's protocol).

    An image is found right when any of its captions is among the first k of all; a caption when its image is. What is equal to
    the best right candidate, but wrong, counts as before it, so that a model that says the same of everything scores nothing.
    """

    full_state_update = False
    images: list[Tensor]
    texts: list[Tensor]
    owners: list[Tensor]
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("images", "texts", "owners"):
            self.add_state(name, default=[], dist_reduce_fx="cat")
        self.add_state("count", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, image_rows: Tensor, text_rows: Tensor, owner: Tensor) -> None:
        """Take a batch.

        Args:
            image_rows: [B, D].
            text_rows: [N, D].
            owner: [N], the image in 0..B-1 that each text belongs to.
        """
        self.images.append(image_rows.float())
        self.texts.append(text_rows.float())
        self.owners.append(owner + self.count)
        self.count += len(image_rows)

    def compute(self) -> dict[str, Tensor]:
        """Give `recall@k_image_to_text`, `recall@k_text_to_image`, and `recall`, the mean of the six."""
        images, texts, owners = (torch.cat(list(part)) for part in (self.images, self.texts, self.owners))
        found: dict[str, Tensor] = {}
        ways = {
            "image_to_text": _ranks(images, texts, torch.arange(len(images), device=owners.device), owners),
            "text_to_image": _ranks(texts, images, owners, torch.arange(len(images), device=owners.device)),
        }
        for way, ranks in ways.items():
            found.update({f"recall@{k}_{way}": (ranks < k).float().mean() for k in RECALL_AT})
        found["recall"] = torch.stack(list(found.values())).mean()
        return found


def _ranks(queries: Tensor, candidates: Tensor, query_of: Tensor, candidate_of: Tensor) -> Tensor:
    """How many wrong candidates come before the first right one, for each query; [Q]."""
    ranks = []
    for rows, owner in zip(queries.split(BLOCK), query_of.split(BLOCK), strict=True):
        scores = rows @ candidates.T  # [block, N]
        right = owner[:, None] == candidate_of[None]
        best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        before = (~(scores < best) & ~right).sum(dim=1)  # so written, not-a-number comes before all
        ranks.append(before.masked_fill(~right.any(dim=1), max(RECALL_AT)))  # what has no right candidate is never found
    return torch.cat(ranks)
