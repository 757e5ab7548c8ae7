"""What is reported: accuracy over class rows by torchmetrics, and recall between images and their captions, in blocks."""

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cliptune.distributed import rank, total, world
from cliptune.similarity import exact

RECALL_AT = (1, 5, 10)
BLOCK = {"cpu": (1024, 8192), "cuda": (8192, 32768)}  # queries and candidates compared at a time: 32 MB, and 1 GB
TIE = 1e-6  # cosines nearer than this are equal: float32 has them to 1e-7


class Recall(Metric):
    """Recall at 1, 5 and 10 both ways, an image with any number of captions (Karpathy and Fei-Fei 2015's protocol).

    An image is found right when any of its captions is among the first k of all; a caption when its image is. What is equal to
    the best right candidate, but wrong, counts as before it, so that a model that says the same of everything scores nothing.

    Each process ranks its share of the queries, in blocks: the rows are all that is held as a whole.
    """

    full_state_update = False
    images: list[Tensor]
    texts: list[Tensor]
    numbers: list[Tensor]
    owners: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("images", "texts", "numbers", "owners"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, image_rows: Tensor, numbers: Tensor, text_rows: Tensor, owner: Tensor) -> None:
        """Take a batch.

        Args:
            image_rows: [B, D].
            numbers: [B], of the images in the whole split; -1 for one that only fills the batch, and does not count.
            text_rows: [N, D].
            owner: [N], the image in 0..B-1 that each text belongs to.
        """
        counts, owned = numbers >= 0, numbers[owner] >= 0
        self.images.append(image_rows[counts].float())
        self.numbers.append(numbers[counts])
        self.texts.append(text_rows[owned].float())
        self.owners.append(numbers[owner][owned])

    def compute(self) -> dict[str, Tensor]:
        """Give `recall@k_image_to_text`, `recall@k_text_to_image`, and `recall`, the mean of the six."""
        images, texts, numbers, owners = (dim_zero_cat(part) for part in (self.images, self.texts, self.numbers, self.owners))
        found: dict[str, Tensor] = {}
        for way, parts in {"image_to_text": (images, texts, numbers, owners), "text_to_image": (texts, images, owners, numbers)}.items():
            queries, candidates, query_of, candidate_of = parts
            own = slice(rank() * len(queries) // world(), (rank() + 1) * len(queries) // world())
            ranks = ranks_of(queries[own], candidates, query_of[own], candidate_of)
            hits = total(torch.stack([(ranks < k).sum() for k in RECALL_AT]))
            found.update({f"recall@{k}_{way}": hit / len(queries) for k, hit in zip(RECALL_AT, hits, strict=True)})
        found["recall"] = torch.stack(list(found.values())).mean()
        return found


@torch.no_grad()
def ranks_of(queries: Tensor, candidates: Tensor, query_of: Tensor, candidate_of: Tensor) -> Tensor:
    """How many wrong candidates come before the first right one.

    Args:
        queries: [Q, D].
        candidates: [N, D].
        query_of: [Q], the image that each belongs to; right is a candidate of the same image.
        candidate_of: [N].

    Returns:
        [Q]; the greatest of `RECALL_AT` or more for a query without a right candidate.
    """
    rows, columns = BLOCK.get(queries.device.type, BLOCK["cpu"])
    order = candidate_of.argsort(stable=True)
    candidates, candidate_of = candidates[order], candidate_of[order]  # an image's own are now neighbours
    ranks = []
    with exact(queries.device):
        for part, owner in zip(queries.split(rows), query_of.split(rows), strict=True):
            best = _best_right(part, candidates, owner, candidate_of)
            before = torch.zeros(len(part), dtype=torch.long, device=part.device)
            for others, whose in zip(candidates.split(columns), candidate_of.split(columns), strict=True):
                counts = ~(part @ others.T < best[:, None] - TIE)  # so written, not-a-number comes before all
                counts &= owner[:, None] != whose
                before += counts.sum(dim=1)
            ranks.append(before.masked_fill(best == -torch.inf, max(RECALL_AT)))
    return torch.cat(ranks) if ranks else torch.empty(0, dtype=torch.long, device=queries.device)


def _best_right(queries: Tensor, candidates: Tensor, query_of: Tensor, candidate_of: Tensor) -> Tensor:
    """[Q]: the cosine of the best right candidate, -inf where there is none; candidates of one image are neighbours."""
    first, last = torch.searchsorted(candidate_of, query_of), torch.searchsorted(candidate_of, query_of, right=True)
    count = last - first
    query = torch.arange(len(queries), device=queries.device).repeat_interleave(count)
    place = torch.arange(len(query), device=queries.device) - (count.cumsum(0) - count).repeat_interleave(count)
    right, step = first.repeat_interleave(count) + place, BLOCK.get(queries.device.type, BLOCK["cpu"])[1]
    scores = torch.cat([(queries[q] * candidates[r]).sum(dim=1) for q, r in zip(query.split(step), right.split(step), strict=True)])
    return torch.full((len(queries),), -torch.inf, device=queries.device).scatter_reduce_(0, query, scores, "amax")
