"""The same data gives the same gradient in one process, in two, and in chunks: every objective, equals in the batch, three methods.

The gradient of one process on the whole batch is the measure; tests/test_contrastive.py and its neighbours compare that with outside
references.
"""

from typing import Any

import pytest
import torch
from conftest import classes_for, images_for
from pair import WORLD, Pair
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from cliptune.backbone import Backbone
from cliptune.data.batches import Batch
from cliptune.described import build
from cliptune.distributed import mean_of, rank, world
from cliptune.methods.base import Method
from cliptune.methods.full import Full
from cliptune.methods.lora import LoRA
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.module import AdaptModule
from cliptune.objectives.base import Objective
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.objectives.feature_distillation import FeatureDistillation
from cliptune.objectives.l2sp import L2SP
from cliptune.objectives.sigmoid import Sigmoid
from cliptune.objectives.similarity_distillation import SimilarityDistillation
from cliptune.objectives.sum import Sum

BATCH, CHUNK = 12, 4
TOLERANCE = {"Full": 1e-6, "LoRA": 1e-6, "words": 2e-6, "image prompts": 2e-6}  # of the norm; rounding alone moves prompts' by more
WORDS = ["cat", "red panda", "seven", "dog on a wall", "small boat", "house"]
WORDS += ["tree at night", "river", "green car", "two birds", "sky", "map"]
OBJECTIVES: dict[str, Objective] = {
    "Contrastive": Contrastive(),
    "any": Contrastive(positives="any", label_smoothing=0.1),
    "Sigmoid": Sigmoid(),
    "CrossEntropy": CrossEntropy(0.1, [1.0, 2.0, 0.5]),
    "features": Sum([Contrastive(["caption"]), FeatureDistillation()], [1.0, 5.0]),
    "similarities": Sum([Sigmoid(), SimilarityDistillation(2.0)]),
    "classes": Sum([CrossEntropy(), SimilarityDistillation(), FeatureDistillation()]),
    "L2SP": Sum([Contrastive(), CrossEntropy(), L2SP(0.3)], [1.0, 0.5, 1.0]),
}
METHODS: dict[str, Method] = {
    "Full": Full(),
    "LoRA": LoRA(),
    "image prompts": PromptTuning(towers="image"),
    "words": PromptTuning(towers="both"),
}
CASES = [
    (objective, method)
    for objective in OBJECTIVES
    for method in METHODS
    if method != "words" or objective in ("CrossEntropy", "classes")  # words learn from classes
]


def examples(equals: bool, unequal: bool) -> list[dict[str, Any]]:
    """The whole batch, one by one: captions, classes and pictures that are equal within a process's part, and across."""
    captions = [f"a photo of a {word}" for word in WORDS]
    label, image = list(range(BATCH)), list(range(BATCH))
    if equals:
        captions[1] = captions[7] = captions[0]
        label = [0, 1, -1, 2, 3, 0, 1, 5, 6, 7, 2, -1]
        image[3] = image[11] = 2
    negatives: list[list[str]] = [[] for _ in range(BATCH)]
    if unequal:
        negatives[2], negatives[4], negatives[9] = ["a map of a house"], [captions[8], "a sky"], ["a sky"]  # one is true of another image
    return [{"caption": c, "label": k, "image": i, "negatives": n} for c, k, i, n in zip(captions, label, image, negatives, strict=True)]


def batch_of(backbone: Backbone, items: list[dict[str, Any]]) -> Batch:
    """As `TrainView` gives it."""
    number = {text: i for i, text in enumerate(sorted({text for item in examples(True, True) + examples(False, True)
                                                       for text in (item["caption"], *item["negatives"])}))}  # fmt: skip
    extra = [text for item in items for text in item["negatives"]]
    distinct = list(dict.fromkeys([*(item["caption"] for item in items), *extra]))
    pictures = images_for(backbone, BATCH)
    batch = Batch(
        images=torch.stack([pictures[item["image"]] for item in items]),
        tokens=backbone.preprocess.tokenize(distinct),
        text=torch.tensor([distinct.index(item["caption"]) for item in items]),
        identity=torch.tensor([[item["label"], number[item["caption"]], item["image"]] for item in items]),
        label=torch.tensor([item["label"] if item["label"] < 3 else -1 for item in items]),
        row=torch.arange(len(items)),
    )
    if extra:
        batch["negative"] = torch.tensor([distinct.index(text) for text in extra], dtype=torch.long)
        batch["negative_identity"] = torch.tensor([number[text] for text in extra], dtype=torch.long)
    return batch


class Loss(nn.Module):
    """A module's loss as a forward pass, which DDP wraps."""

    def __init__(self, module: AdaptModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Batch) -> Tensor:
        return self.module.objective.parts(self.module.step_rows(batch))[0]


def moved_module(name: str, case: tuple[str, str], chunk: int | None) -> AdaptModule:
    """A module, attached, off its start, at which LoRA's first matrices get no gradient."""
    torch.manual_seed(2)
    backbone = Backbone(name)
    module = AdaptModule(backbone, build(METHODS[case[1]].describe()), build(OBJECTIVES[case[0]].describe()), chunk_size=chunk)
    module.attach(classes_for(backbone))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p += 0.005 * torch.randn(p.shape, generator=generator)
    return module


def gradients(name: str, case: tuple[str, str], items: list[dict[str, Any]], parts: list[int], chunk: int | None) -> dict[str, Tensor]:
    """The gradient of this process's part of the batch, as data parallelism averages it; and the mean loss."""
    torch.set_num_threads(1)
    module = moved_module(name, case, chunk)
    module.train()
    loss = Loss(module)
    run: Any = DistributedDataParallel(loss) if world() > 1 else loss
    start = sum(parts[: rank()])
    value = run(batch_of(module.backbone, items[start : start + parts[rank()]]))
    value.backward()
    found = {key: p.grad for key, p in module.named_parameters() if p.requires_grad and p.grad is not None}
    return {**found, "loss": mean_of({"loss": value})["loss"]}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    """Compare the towers' gradient as one vector, and scale, bias and loss each by itself."""
    assert found.keys() == expected.keys()
    alone = [key for key in expected if key == "loss" or key.endswith(("logit_scale", "logit_bias", "objective.bias"))]
    towers = [key for key in expected if key not in alone]
    norm = torch.cat([expected[key].flatten() for key in towers]).double().norm()
    assert norm > 1e-3
    apart = torch.cat([(found[key].double() - expected[key].double()).flatten() for key in towers]).norm()
    assert apart / norm < tolerance, f"towers differ by {apart / norm:.2e}"
    for key in alone:
        size = max(
            float(expected[key].double().abs()), 0.5 if "bias" in key else 0.0
        )  # of what sums to nothing, such as a bias that is placed, no share can be told
        assert float((found[key].double() - expected[key].double()).abs()) / size < tolerance, key


@pytest.mark.parametrize("equals", [False, True], ids=["distinct", "equals"])
@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_one_process_two_and_chunks_have_the_same_gradient(tiny: dict[str, str], pair: Pair, case: tuple[str, str], equals: bool) -> None:
    tolerance = 2e-6 if case[0] == "similarities" else TOLERANCE[case[1]]  # a difference of two models that are nearly one
    name, items = tiny["siglip" if case[0] == "Sigmoid" and case[1] != "image prompts" else "vit"], examples(equals, unequal=equals)
    expected = gradients(name, case, items, [BATCH], None)
    assert_same(gradients(name, case, items, [BATCH], CHUNK), expected, tolerance)
    halves = [BATCH // WORLD] * WORLD
    for chunk in (None, CHUNK):
        for found in pair(gradients, name, case, items, halves, chunk):
            assert_same(found, expected, tolerance)


@pytest.mark.parametrize("case", [case for case in CASES if case[1] == "Full"], ids="-".join)
def test_parts_of_unequal_size_have_the_same_gradient(tiny: dict[str, str], pair: Pair, case: tuple[str, str]) -> None:
    items = examples(equals=True, unequal=True)
    expected = gradients(tiny["vit"], case, items, [BATCH], None)
    for found in pair(gradients, tiny["vit"], case, items, [7, 5], None):
        assert_same(found, expected, 2e-6)  # seven rows go through other kernels than six


@pytest.mark.parametrize("family", ["siglip", "convnext", "coca", "eva02"])
def test_every_family_has_the_same_gradient(tiny: dict[str, str], pair: Pair, family: str) -> None:
    items, case = examples(equals=False, unequal=False), ("Contrastive", "Full")
    expected = gradients(tiny[family], case, items, [BATCH], None)
    assert_same(gradients(tiny[family], case, items, [BATCH], CHUNK), expected, 4e-6)  # 2.04e-6 with AVX-512
    for found in pair(gradients, tiny[family], case, items, [BATCH // WORLD] * WORLD, None):  # DDP refuses what gets no gradient
        assert_same(found, expected, 4e-6)


@pytest.mark.parametrize("objective", ["Contrastive", "Sigmoid"])
def test_negatives_of_one_process_alone_count_for_all(tiny: dict[str, str], pair: Pair, objective: str) -> None:
    items, case = examples(equals=True, unequal=True), (objective, "Full")
    for item in items[: BATCH // WORLD]:
        item["negatives"] = []
    expected = gradients(tiny["vit"], case, items, [BATCH], None)
    for found in pair(gradients, tiny["vit"], case, items, [BATCH // WORLD] * WORLD, None):
        assert_same(found, expected, 1e-6)
