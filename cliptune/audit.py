"""The proof that every adapter tensor does something: each gets a gradient, and the gradient is what the output does.

peft's LoRA on `nn.MultiheadAttention` and on Linears that a tower passes by trains tensors that change nothing, or something else than
the gradient says, without a word. So after attaching, each tower is run once, forward and backward, on random input.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.similarity import exact

STEPS = (2e-3, 5e-4, 1e-4)  # of all adapters together, relative to their length; a curve looks straight at one of them, a fault at none
AGREE = 0.1  # of the change that the gradient foretells; DoRA, which takes norms as constants in its gradient, is off by up to 0.05
NOISE = 1e-5  # of float32, on a sum of products


def audit(backbone: Backbone, tower: str, adapters: dict[str, nn.Parameter]) -> None:
    """Prove that every one of the adapters changes the tower's rows, as its gradient says.

    Args:
        backbone: with the adapters in place; unchanged afterwards.
        tower: `image` or `text`.
        adapters: the tower's adapter tensors by name, all learning.

    Raises:
        ConfigError: naming the tensors that do nothing, or that the gradient is not what happens.
    """
    with torch.random.fork_rng(), evaluating(backbone), exact(backbone.mean.device), moved(list(adapters.values())):
        torch.manual_seed(0)
        value = _scalar(backbone, tower)
        total = value()
        nothing: tuple[Tensor | None, ...] = (None,) * len(adapters)
        gradients = torch.autograd.grad(total, list(adapters.values()), allow_unused=True) if total.requires_grad else nothing
        dead = [name for name, g in zip(adapters, gradients, strict=True) if g is None or not g.any() or not g.isfinite().all()]
        if dead:
            raise ConfigError(
                f"LoRA: {len(dead)} of {len(adapters)} adapter tensors of the {tower} tower do nothing, such as {dead[0]}. "
                "Take other targets or layers, or method: Full."
            )
        for step in STEPS:
            foretold, seen, noise = _slope(value, list(adapters.values()), [g for g in gradients if g is not None], step)
            if abs(foretold - seen) <= AGREE * abs(foretold) + noise:
                break
    if abs(foretold - seen) > AGREE * abs(foretold) + noise:
        raise ConfigError(
            f"LoRA: the {tower} tower's rows do not follow the adapters' gradient (foretold {foretold:.3g}, seen {seen:.3g}). "
            "This backbone uses its layers in a way that adapters cannot follow: use method: Full."
        )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Without dropout, whose draws differ from call to call."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


@contextmanager
def moved(adapters: list[nn.Parameter]) -> Iterator[None]:
    """Take the adapters off their start, at which one of each pair is zero and hides the other."""
    before = [p.detach().clone() for p in adapters]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in adapters:
            noise = torch.randn(p.shape, generator=generator).to(p)
            p.add_(noise * 0.1 / p[0].numel() ** 0.5 if p.ndim > 1 else 0.1 * noise * p.abs().mean())
    try:
        yield
    finally:
        with torch.no_grad():
            for p, old in zip(adapters, before, strict=True):
                p.copy_(old)


def _scalar(backbone: Backbone, tower: str) -> Callable[[], Tensor]:
    """A function of the tower's rows of two random inputs."""
    device = backbone.mean.device
    if tower == "image":
        images = torch.randn(2, 3, *backbone.preprocess.size).to(device)
        rows: Callable[[], Tensor] = lambda: backbone.encode_image(images)  # noqa: E731
    else:
        tokens = backbone.preprocess.tokenize(["a photo of a small dog, by the sea.", "seven"]).to(device)
        rows = lambda: backbone.encode_text(tokens)  # noqa: E731
    with torch.no_grad():
        weights = torch.randn(rows().shape).to(device)
    return lambda: (rows() * weights).sum()


@torch.no_grad()
def _slope(value: Callable[[], Tensor], adapters: list[nn.Parameter], gradients: list[Tensor], step: float) -> tuple[float, float, float]:
    """The slope along the gradient, each tensor's share of equal length: as foretold, as two evaluations say, and their noise."""
    along = [g / g.norm() * p.norm() for g, p in zip(gradients, adapters, strict=True)]
    length = torch.stack([a.norm() for a in along]).norm()
    foretold = sum(float((g * a).sum()) for g, a in zip(gradients, along, strict=True)) / float(length)
    before, seen = [p.clone() for p in adapters], []
    for sign in (1, -1):
        for p, old, a in zip(adapters, before, along, strict=True):
            p.copy_(old + sign * step * a)
        seen.append(float(value()))
    for p, old in zip(adapters, before, strict=True):
        p.copy_(old)
    width = 2 * step * float(length)
    return foretold, (seen[0] - seen[1]) / width, NOISE * abs(seen[0]) / width
