"""Every method in every format on every family: read back by the other library in a process of its own, equal or refused with its reason.

A process reads all exports of one format, since it is importing the other library that takes the time.
"""

import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import onnx
import pytest
import torch
from adapted_runs import METHODS, NAMES, adapted_run
from conftest import CONFIGS, write_model
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

import cliptune
from cliptune import Full, LoRA, Method
from cliptune.blend import folded
from cliptune.errors import ExportError
from cliptune.export.exporting import FORMATS
from cliptune.export.proof import Proof, compare, read
from cliptune.export.samples import of_digits

TINY: dict[str, dict[str, Any]] = {
    **CONFIGS,
    "quickgelu": {**CONFIGS["vit"], "quick_gelu": True},
    "plain_siglip": {
        "embed_dim": 32,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 32, "timm_model_name": "tiny_siglip", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {
            **{"context_length": 16, "vocab_size": 64, "width": 32, "heads": 2, "layers": 2, "hf_tokenizer_name": "words"},
            **{"tokenizer_kwargs": {"clean": "canonicalize"}},
            **{"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}},
        },
    },
}
MATRIX = ("full", "lora", "pissa", "probe", "prompts", "image_prompts")
FOLDS, GRAPHS = ("full", "lora", "pissa"), ("onnx", "torch_export")
QUICK = ("vit-lora", "vit-probe", "vit-image_prompts", "rn50-full", "plain_siglip-full")  # of the graphs, those in the default run


@register_model
def tiny_siglip(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """SigLIP's image tower (Zhai et al. 2023), tiny: no class token, pooled by attention."""
    shape = {"img_size": 32, "patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False, "global_pool": "map"}
    model = VisionTransformer(**{**shape, "num_classes": kwargs.get("num_classes", 0)})
    model.default_cfg = {}  # type: ignore[assignment]
    return model


class Case(NamedTuple):
    """An export, and what it shall be refused for; None where it shall be equal."""

    form: str
    family: str
    method: str
    refusal: str | None

    @property
    def name(self) -> str:
        return f"{self.form}-{self.family}-{self.method}"


def refusal(form: str, family: str, method: str) -> str | None:
    """What must be said of a combination that has no place, from the table of the formats."""
    if form in ("open_clip", "transformers") and method not in FOLDS:
        return "is no weight of a plain CLIP"
    if form == "peft" and method not in ("lora", "pissa"):
        return "is no adapter of peft's"
    if form == "classifier" and method == "image_prompts":
        return "Use --format onnx or torch_export"
    if form == "transformers" and family in ("rn50", "convnext"):
        return "no place for the image tower"
    if form == "transformers" and family == "siglip":
        return "no place for class or register tokens"
    return None


def cases() -> list[Any]:
    """All of them; graphs take seconds each, so of those only some are in the default run."""
    found = []
    for form in FORMATS:
        for family in TINY:
            for method in MATRIX:
                if method == "image_prompts" and family not in ("vit", "quickgelu"):
                    continue  # only for vision transformers of open_clip's own
                if family == "plain_siglip" and form in ("open_clip", "peft"):
                    continue  # the fresh process does not know this test's own timm model
                slow = form in GRAPHS and f"{family}-{method}" not in QUICK
                case = Case(form, family, method, refusal(form, family, method))
                found.append(pytest.param(case, id=case.name, marks=[pytest.mark.slow] if slow else []))
    return found


@pytest.fixture(scope="module")
def proofs(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """From a case to its proof, or to the refusal's message; all selected cases of a format are written, then read at once."""
    root = tmp_path_factory.mktemp("exports")
    params = [getattr(item, "callspec", _None).params.get("case") for item in request.session.items]
    wanted = [case for case in params if isinstance(case, Case)]
    backbones = {}

    def run_of(family: str, method: str) -> Path:
        if family not in backbones:
            backbones[family] = write_family(root / "models" / family, family)
        folder = root / "runs" / f"{family}-{method}"
        made: Method = METHODS[method]()
        if family == "convnext" and isinstance(made, LoRA):  # whose image tower has no attention
            made = LoRA(rank=2, targets=["mlp"], variant=made.variant)  # type: ignore[arg-type]
        return folder if folder.exists() else adapted_run(backbones[family], made, folder)

    @cache
    def of_form(form: str) -> dict[str, Proof | str]:
        found: dict[str, Proof | str] = {}
        jobs, waiting = [], []
        for case in (case for case in wanted if case.form == form):
            folders = [root / case.name / part for part in ("export", "samples", "found")]
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            model, kind = cliptune.load(run_of(case.family, case.method)), FORMATS[form]()
            samples = of_digits(model, 6, "a test")
            expected = samples.expected(model)
            samples.write(folders[1], model)
            allowed = kind.allowed("fp32", float(model.backbone.logit_scale))
            try:
                kind.check(model)
                kind.write(folded(model) if kind.folds else model, folders[0], "fp32")
            except Exception as error:  # each case tells its own
                found[case.name] = str(error) if isinstance(error, ExportError) else repr(error)
                shutil.rmtree(root / case.name)
                continue
            jobs.append((folders[0], folders[1], folders[2]))
            waiting.append((case.name, samples, expected, allowed))
        for (name, samples, expected, allowed), (tensors, facts) in zip(waiting, read(form, jobs) if jobs else [], strict=True):
            found[name] = compare(samples, expected, tensors, facts, allowed)
        return found

    return lambda case: of_form(case.form)[case.name]


class _None:
    params: dict[str, Any] = {}


def write_family(folder: Path, family: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    if family == "plain_siglip":
        known = ["[UNK]", "[PAD]", "a", "photo", "of", "cat", "dog", "red"]
        words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
        words.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]", eos_token="[PAD]").save_pretrained(folder)
    size = {"resize_mode": "squash"} if "siglip" in family else {}
    return write_model(folder, TINY[family], **size)


@pytest.mark.parametrize("case", cases())
def test_an_export_says_the_same_in_the_other_library_or_is_refused(case: Case, proofs: Any) -> None:
    found = proofs(case)
    if case.refusal is not None:
        assert isinstance(found, str), "should have been refused"
        assert case.refusal in found
        assert "Use --format" in found
        return
    assert isinstance(found, Proof), found
    assert found.differences, "nothing was compared"
    assert found.holds, found.lines()
    assert found.agreement == 1.0
    if case.form not in ("peft",):
        assert not found.facts["cliptune_imported"]
    if case.form in GRAPHS:
        assert found.facts["images_per_second"] > 0
    if case.form in (*GRAPHS, "classifier"):
        assert found.facts["class_names"] == NAMES
    if case.form == "torch_export":
        assert found.facts["others_imported"] == []


def test_a_wrong_activation_does_not_pass(tmp_path: Path) -> None:
    model = cliptune.load(adapted_run(write_model(tmp_path / "clip", TINY["quickgelu"]), LoRA(rank=2), tmp_path / "run"))
    samples, kind = of_digits(model, 6, "a test"), FORMATS["open_clip"]()
    expected = samples.expected(model)
    for name in ("export", "samples", "found"):
        (tmp_path / name).mkdir()
    samples.write(tmp_path / "samples", model)
    model.backbone.config.pop("quick_gelu")
    kind.write(folded(model), tmp_path / "export", "fp32")
    tensors, facts = read("open_clip", [(tmp_path / "export", tmp_path / "samples", tmp_path / "found")])[0]
    assert not compare(samples, expected, tensors, facts, kind.allowed("fp32", 1.0)).holds


def test_an_export_with_a_number_that_is_none_does_not_pass() -> None:
    proof = Proof({"image_rows": float("nan")}, {"image_rows": 1.0}, 1.0, None, None, "", {})
    assert not proof.holds
    assert Proof({"image_rows": 0.5}, {"image_rows": 1.0}, 1.0, None, None, "", {}).holds


def test_the_image_graph_holds_no_weights_of_texts(tmp_path: Path, tiny: dict[str, str]) -> None:
    model = cliptune.load(adapted_run(tiny["vit"], Full(), tmp_path / "run", names=[]))
    (tmp_path / "export").mkdir()
    FORMATS["torch_export"]().write(model, tmp_path / "export", "fp32")
    held = sum(value.numel() for value in torch.export.load(tmp_path / "export" / "image_encoder.pt2").constants.values())
    assert 0 < held <= sum(p.numel() for p in model.backbone.towers()["image"].parameters()) + 1000


@pytest.mark.parametrize(("precision", "kept"), [("fp16", onnx.TensorProto.FLOAT16), ("int8", onnx.TensorProto.INT8)])
def test_onnx_in_fewer_bits_holds_them_and_says_nearly_the_same(tmp_path: Path, tiny: dict[str, str], precision: str, kept: int) -> None:
    model, kind = cliptune.load(adapted_run(tiny["vit"], Full(), tmp_path / "run", names=[])), FORMATS["onnx"]()
    samples = of_digits(model, 6, "a test")
    expected = samples.expected(model)
    for name in ("export", "samples", "found"):
        (tmp_path / name).mkdir()
    samples.write(tmp_path / "samples", model)
    kind.write(model, tmp_path / "export", precision)
    tensors, facts = read("onnx", [(tmp_path / "export", tmp_path / "samples", tmp_path / "found")])[0]
    found = compare(samples, expected, tensors, facts, kind.allowed(precision, 1.0))
    assert found.holds, found.lines()
    assert found.differences["image_rows"] > 1e-6  # it is not float32 after all
    graph = onnx.load(tmp_path / "export" / "image_encoder.onnx").graph
    matrices = [value.data_type for value in graph.initializer if len(value.dims) == 2 and max(value.dims) > 16]
    assert matrices.count(kept) >= len(matrices) // 2
