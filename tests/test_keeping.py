"""Keeping what CLIP knew: distillation of rows and of similarities, L2-SP, and sums of objectives with them."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import classes_for, images_for
from dense import assert_equal, distinct, doubled, pairs, unit
from torch import Tensor, nn

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.methods.base import Method
from cliptune.methods.full import Full
from cliptune.methods.linear_probe import LinearProbe
from cliptune.methods.lora import LoRA
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.module import AdaptModule
from cliptune.objectives import positives
from cliptune.objectives.base import Objective, StepRows
from cliptune.objectives.contrastive import Contrastive
from cliptune.objectives.cross_entropy import CrossEntropy
from cliptune.objectives.feature_distillation import FeatureDistillation
from cliptune.objectives.l2sp import L2SP
from cliptune.objectives.similarity_distillation import SimilarityDistillation
from cliptune.objectives.sum import Sum

METHODS: dict[str, Method] = {
    "Full": Full(),
    "last block": Full(train_last=1),
    "LoRA": LoRA(dropout=0.3),
    "pissa": LoRA(variant="pissa"),
    "dora": LoRA(variant="dora", targets=["q", "mlp"]),
    "words": PromptTuning(),
    "image prompts": PromptTuning(towers="image"),
    "probe": LinearProbe(),
}


def taught(rows: StepRows, seed: int = 10) -> StepRows:
    """The same with a teacher who says something else."""
    from dataclasses import replace

    texts = None if rows.texts is None else unit(len(rows.images), seed + 1).detach()
    classes = None if rows.classes is None else unit(len(rows.classes), seed + 2).detach()
    teacher = StepRows(unit(len(rows.images), seed).detach(), torch.tensor([30.0]), texts=texts, classes=classes)
    return replace(rows, teacher=teacher)


def divergence(ours: Tensor, theirs: Tensor) -> Tensor:
    return F.kl_div(ours.log_softmax(dim=1), theirs.double().log_softmax(dim=1), log_target=True, reduction="batchmean")


@pytest.mark.parametrize("block", [10_000, 30])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_similarities_are_distilled_both_ways(temperature: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positives, "BLOCK", {"cpu": block})
    ours = taught(pairs(9))
    theirs, teacher = doubled(ours), ours.teacher
    assert theirs.texts is not None
    assert teacher is not None
    assert teacher.texts is not None
    said = theirs.scale * theirs.images @ theirs.texts.T / temperature
    wanted = teacher.scale * teacher.images @ teacher.texts.T / temperature
    expected = (divergence(said, wanted) + divergence(said.T, wanted.T)) / 2 * temperature**2
    assert_equal(ours, SimilarityDistillation(temperature)(ours), theirs, expected)


def test_similarities_to_classes_are_distilled() -> None:
    rows = taught(StepRows(unit(9, 0), torch.tensor([20.0]), classes=unit(4, 1), label=torch.zeros(9, dtype=torch.long)))
    assert rows.teacher is not None
    assert rows.classes is not None
    assert rows.teacher.classes is not None
    expected = divergence(20 * rows.images @ rows.classes.T, 30 * rows.teacher.images @ rows.teacher.classes.T)
    torch.testing.assert_close(SimilarityDistillation()(rows).double(), expected, atol=1e-5, rtol=0)


def test_a_model_that_is_its_teacher_has_nothing_to_learn() -> None:
    rows = pairs(9)
    from dataclasses import replace

    assert rows.texts is not None
    same = replace(rows, teacher=StepRows(rows.images.detach(), rows.scale.detach(), texts=rows.texts.detach()))
    loss = SimilarityDistillation()(same) + FeatureDistillation()(same)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert rows.images.grad is not None
    assert rows.images.grad.abs().max() < 1e-6


@pytest.mark.parametrize(("towers", "parts"), [("both", (1, 1)), ("image", (1, 0)), ("text", (0, 1))])
def test_rows_are_distilled_by_their_squared_distance(towers: Any, parts: tuple[int, int]) -> None:
    rows = taught(pairs(9))
    assert rows.teacher is not None
    assert rows.texts is not None
    assert rows.teacher.texts is not None
    distances = [(rows.images - rows.teacher.images).square().sum(dim=1), (rows.texts - rows.teacher.texts).square().sum(dim=1)]
    expected = sum(use * part.mean() for use, part in zip(parts, distances, strict=True))
    torch.testing.assert_close(FeatureDistillation(towers)(rows), expected)


def module_of(backbone: Backbone, method: Method, objective: Objective) -> AdaptModule:
    module = AdaptModule(backbone, deepcopy(method), objective)
    module.attach(classes_for(backbone), [1, 1, 1])
    return module


def batch_for(module: AdaptModule) -> Any:
    backbone = module.backbone
    tokens = backbone.preprocess.tokenize(["a cat", "seven", "a red panda in ink"])
    return {"images": images_for(backbone, 3), "tokens": tokens, "text": torch.arange(3), "identity": distinct(3),
            "label": torch.arange(3), "row": torch.arange(3)}  # fmt: skip


@contextmanager
def moved(module: AdaptModule) -> Iterator[None]:
    """What learns, elsewhere than it started."""
    torch.manual_seed(5)
    with torch.no_grad():
        for p in module.parameters():
            if p.requires_grad:
                p += 0.05 * torch.randn_like(p)
    yield


def classes_only(method: Method) -> bool:
    return isinstance(method, LinearProbe) or (isinstance(method, PromptTuning) and "text" in method.names)


@pytest.mark.parametrize("family", ["vit", "siglip"], indirect=True)
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_the_teacher_is_the_untouched_clip_after_training_too(backbone: Backbone, method: Method) -> None:
    objective = Sum([CrossEntropy() if classes_only(method) else Contrastive(), FeatureDistillation()])
    before = deepcopy(backbone, {id(backbone.preprocess): backbone.preprocess})
    module = module_of(backbone, method, objective)
    batch = batch_for(module)
    module.train()
    with moved(module):
        rows = module.step_rows(batch)
    assert rows.teacher is not None
    with torch.no_grad():
        torch.testing.assert_close(rows.teacher.images, before.encode_image(batch["images"]), atol=2e-6, rtol=0)
        if rows.teacher.texts is not None:
            torch.testing.assert_close(rows.teacher.texts, before.encode_text(batch["tokens"]), atol=2e-6, rtol=0)
        if rows.teacher.classes is not None:
            expected = Full().class_rows(before, classes_for(before)).rows
            torch.testing.assert_close(rows.teacher.classes, expected, atol=2e-6, rtol=0)
        torch.testing.assert_close(rows.teacher.scale, before.logit_scale)
    assert not rows.teacher.images.requires_grad
    loss, parts = module.objective.parts(rows)
    assert parts["feature_distillation"] > 1e-6
    loss.backward()
    assert all(p.grad is None for p in module.teacher.parameters() if id(p) not in {id(q) for q in backbone.parameters()})  # type: ignore[union-attr]


def test_no_method_but_full_keeps_a_second_copy_and_full_only_of_what_learns(tiny: dict[str, str]) -> None:
    for name, method in METHODS.items():
        backbone = Backbone(tiny["vit"])
        objective = Sum([CrossEntropy() if classes_only(method) else Contrastive(), FeatureDistillation(), L2SP()])
        module = module_of(backbone, method, objective)
        assert module.teacher is not None
        kept = {id(p): p.numel() for p in module.teacher.parameters()}
        own = sum(size for key, size in kept.items() if key not in {id(p) for p in backbone.parameters()})
        learning = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
        assert own == (learning if name in ("Full", "last block") else 0), name


def distance(before: Backbone, after: Backbone) -> float:
    """The squared distance of folded weights, in float64."""
    theirs = before.state_dict()
    return sum(
        float((value.double() - theirs[key].double()).square().sum()) for key, value in after.state_dict().items() if "logit" not in key
    )


@pytest.mark.parametrize("name", ["Full", "last block", "LoRA", "pissa", "dora"])
def test_l2sp_is_half_the_squared_distance_of_the_weights(vit: Backbone, name: str) -> None:
    before = deepcopy(vit, {id(vit.preprocess): vit.preprocess})
    module = module_of(vit, METHODS[name], Sum([Contrastive(), L2SP(0.5)], [1.0, 2.0]))
    _, parts = module.objective.parts(module.step_rows(batch_for(module)))
    assert parts["l2sp"].item() == pytest.approx(0, abs=1e-6)
    with moved(module):
        loss, parts = module.objective.parts(module.step_rows(batch_for(module)))
    grown = parts["l2sp"].item()
    assert loss.item() == pytest.approx(parts["contrastive"].item() + 2 * grown, rel=1e-5)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    module.method.fold(vit)
    assert grown == pytest.approx(0.5 / 2 * distance(before, vit), rel=1e-4)
    assert grown > 0.01


def test_the_products_of_thin_matrices_have_the_gradient_of_the_weights_distance() -> None:
    module = nn.Sequential(nn.Linear(8, 6, bias=False))
    from peft import LoraConfig

    from cliptune import adapters

    adapters.inject(module, LoraConfig(r=2, lora_alpha=6, target_modules="0"))
    layer: Any = module[0]
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    nn.init.normal_(b)
    found = torch.autograd.grad(adapters.drift(layer), [a, b])
    wanted = torch.autograd.grad((3 * b @ a).square().sum(), [a, b])
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["words", "image prompts", "probe"])
def test_l2sp_draws_prompts_and_probes_to_their_start(vit: Backbone, name: str) -> None:
    method = METHODS[name]
    module = module_of(vit, method, Sum([CrossEntropy() if classes_only(method) else Contrastive(), L2SP(2.0)]))
    before = {key: p.detach().clone() for key, p in module.method.named_parameters()}
    with moved(module):
        _, parts = module.objective.parts(module.step_rows(batch_for(module)))
    expected = sum(float((p - before[key]).detach().square().sum()) for key, p in module.method.named_parameters())
    assert parts["l2sp"].item() == pytest.approx(expected, rel=1e-4)


def test_a_sum_is_weighted_and_says_each_part() -> None:
    rows = taught(pairs(9))
    objective = Sum([Contrastive(), Contrastive(label_smoothing=0.5), FeatureDistillation()], [1.0, 0.5, 10.0])
    loss, parts = objective.parts(rows)
    values = [Contrastive()(rows), Contrastive(label_smoothing=0.5)(rows), FeatureDistillation()(rows)]
    assert list(parts) == ["contrastive_1", "contrastive_2", "feature_distillation"]
    for found, value in zip(parts.values(), values, strict=True):
        assert found.item() == pytest.approx(value.item())
    assert loss.item() == pytest.approx(values[0].item() + 0.5 * values[1].item() + 10 * values[2].item(), rel=1e-6)


def test_a_sum_asks_for_all_that_its_parts_ask_for() -> None:
    both = Sum([Contrastive(), CrossEntropy(), L2SP()])
    assert (both.needs, both.needs_teacher, both.needs_drift) == (frozenset(["pairs", "classes"]), False, True)


def test_a_sum_is_remembered_with_its_parts() -> None:
    from cliptune.described import build

    objective = Sum([Contrastive(["label"], label_smoothing=0.1), SimilarityDistillation(2.0)], [1.0, 3.0])
    again = build(objective.describe())
    assert isinstance(again, Sum)
    assert again.describe() == objective.describe()
    first: Any = again.summands["contrastive"]
    assert (first.columns, first.kind.smoothing, again.weights) == ([0], 0.1, [1.0, 3.0])


@pytest.mark.parametrize(
    "objective", [L2SP(), FeatureDistillation(), Sum([SimilarityDistillation(), L2SP()])], ids=["L2SP", "features", "sum"]
)
def test_what_only_keeps_is_refused_alone(vit: Backbone, objective: Objective) -> None:
    with pytest.raises(
        ConfigError, match=rf"{type(objective).__name__} keeps what is known, and learns nothing from data\. Put it into a Sum"
    ):
        AdaptModule(vit, Full(), objective).attach()


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Sum: parts is empty"):
        Sum([])
    with pytest.raises(ConfigError, match=r"Sum: 2 weights for 1 parts\. Give one for each"):
        Sum([Contrastive()], [1.0, 2.0])
    with pytest.raises(ConfigError, match=r"L2SP: strength 0 is not positive\. Take 0\.1"):
        L2SP(0)
    with pytest.raises(ConfigError, match=r"temperature 0 is not positive"):
        SimilarityDistillation(0)
    with pytest.raises(ConfigError, match=r"FeatureDistillation: towers 'all' is not known\. Take both, image or text"):
        FeatureDistillation("all")  # type: ignore[arg-type]
