"""The published algorithms that cliptune's accuracy is compared with run as they are: on nano, a few steps each."""

import sys
from pathlib import Path

import pytest
import torch

from cliptune.backbone import Backbone

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from published import ALGORITHMS, Part, Task


def part(count: int, seed: int) -> Part:
    """Images whose class is their brightness."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(count) % 2
    images = [torch.randint(0, 100, (3, 40, 40), generator=generator, dtype=torch.uint8) + 150 * int(label) for label in labels]
    return Part(images, labels)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_it_learns_on_a_copy_and_scores_the_test_images(name: str) -> None:
    untouched = Backbone("nano").eval().requires_grad_(False)
    before = untouched.fingerprint()
    task = Task(untouched, ["cat", "dog"], "a photo of a {}.", part(4, 0), part(4, 1), part(6, 2), seed=1, share=0.02, views=2)
    logits = ALGORITHMS[name](task).detach()
    assert logits.shape == (6, 2)
    assert bool(logits.isfinite().all())
    assert not torch.allclose(logits, task.scale * task.rows("test") @ task.class_rows().T)  # it is not zero-shot
    assert task.untouched.fingerprint() == before
