"""Which template helps: top-1 of each one alone, and of all together, on the validation images."""

from typing import Any

import torch
from torch import Tensor

from cliptune.adapted import AdaptedCLIP
from cliptune.data.images import ImageTextData
from cliptune.methods.base import mean_rows
from cliptune.similarity import exact

BLOCK = 8_192  # images compared at a time
LEVEL = 0.05  # chance at which the best of equally good templates would be called better


@torch.no_grad()
def template_scores(
    model: AdaptedCLIP, data: ImageTextData, image_rows: Tensor, label: Tensor, several: Tensor | None = None
) -> list[dict[str, Any]] | None:
    """Score each template alone and all together; each class's texts are encoded once.

    Args:
        model: in the state that is asked about.
        data: whose classes and templates these are.
        image_rows: [N, D], of unit length.
        label: [N], the class; -1 where it is not known.
        several: [N, C] bool, where images may have several classes; any of them is right.

    Returns:
        For each template `template`, `top1`, and how many images it `won` and `lost` against all together; last of all together, whose
        template is None. None where there is one template only, where classes have descriptions, and where class rows are learned.
    """
    names, templates, known = data.class_names, data.templates, label >= 0
    if model.method.learns_class_rows or len(templates) < 2 or not known.any():
        return None
    rows = model.encode_texts([template.replace("{}", name) for name in names for template in templates]).float()
    together, each = mean_rows(rows, [len(templates)] * len(names)), rows.unflatten(0, (len(names), len(templates)))
    images = image_rows[known].float().to(model.device)
    right_is = torch.nn.functional.one_hot(label[known], len(names)).bool() if several is None else several[known]
    right = {template: _right(images, each[:, i], right_is) for i, template in enumerate(templates)}
    of_all = _right(images, together, right_is)
    return [
        {"template": template, "top1": float(own.float().mean()), "won": int((own & ~of_all).sum()), "lost": int((of_all & ~own).sum())}
        for template, own in [*right.items(), (None, of_all)]
    ]


def template_hint(scores: list[dict[str, Any]] | None) -> str:
    """A line on the template that is better alone than all together, by more than chance; empty where none is.

    McNemar's exact test on the images that the two do not agree on, times the number of templates that were tried (Bonferroni).

    Args:
        scores: as `template_scores` gives them.
    """
    if not scores:
        return ""
    *single, together = scores
    best = max(single, key=lambda one: one["top1"])
    won, lost = best["won"], best["lost"]
    from scipy.stats import binomtest

    p = min(1.0, len(single) * binomtest(won, won + lost).pvalue) if won > lost else 1.0
    if p > LEVEL:
        return ""
    return (
        f"the template {best['template']!r} alone has top-1 {best['top1']:.3f} on validation, and all {len(single)} together "
        f"{together['top1']:.3f} (p = {p:.2g}): try data.templates: {best['template']!r}"
    )


def _right(images: Tensor, class_rows: Tensor, right_is: Tensor) -> Tensor:
    """[N] bool: whether the class nearest to an image is one of its own."""
    own = class_rows.to(images.device)
    with exact(images.device):
        chosen = torch.cat([(block @ own.T).argmax(dim=1) for block in images.split(BLOCK)]).cpu()
    return right_is.gather(1, chosen[:, None])[:, 0]
