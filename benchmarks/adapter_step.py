"""A training step of LoRA and of prompt tuning on ViT-B-32, against full fine-tuning, peft's two ways, and a plain CoOp step.

All sides start from the same random weights and see the same random pixels and captions. LoRA is on q, k and v of both towers. peft with
`target_modules=["attn"]` on open_clip's model is other work: one pair of thin matrices for q, k and v, one for the output projection, whose
change counts as often as is measured here. transformers' CLIPModel with peft on q_proj, k_proj and v_proj must give cliptune's gradients.
"""

import argparse
import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from adapter_sides import DEVICE, Job, Side, floating_rate, full, greatest_rate, learning, lora, pefts, step_of, stepping, transformers
from alone import Alone, alone
from made_captions import captions
from measure import RESULTS, Line, alternate, report
from torch import Tensor, nn

CLASSES = 47  # as many as the textures of DTD
SAME_LOSS, SAME_GRADIENT = 1e-4, 1e-3  # in float32; gradients as a share of the greatest
TEXTS = {"texts that fill the context": True, "short captions": False}
MEMORY_GOAL = 0.8
PRECISIONS = ("32-true", "bf16-mixed")


def aligned(model: nn.Module) -> list[nn.Parameter]:
    """LoRA's tensors in one order for both libraries: tower, block, q, k or v, A or B."""
    found = {}
    for name, p in learning(model).items():
        block, role, part = re.search(r"\.(\d+)\..*\.([qkv])(?:_proj)?\.lora_([AB])", name).groups()  # type: ignore[union-attr]
        found["vis" in name, int(block), role, part] = p
    return [found[key] for key in sorted(found)]


def gradients(side: Side, job: Job) -> tuple[float, list[Tensor]]:
    """Loss and gradients with the same random adapters on every side."""
    model, loss = side(job)
    drawn = torch.Generator().manual_seed(1)
    params = aligned(model)
    for p in params:
        p.data.copy_(0.02 * torch.randn(p.shape, generator=drawn))
    found = loss()
    found.backward()  # type: ignore[no-untyped-call]
    return found.item(), [p.grad.cpu() if p.grad is not None else torch.zeros(p.shape) for p in params]


def compared(job: Job) -> dict[str, float]:
    """Hold transformers + peft against cliptune: how far losses and gradients are apart, and how many tensors learn."""
    (ours, mine), (theirs, other) = gradients(lora, job), gradients(transformers, job)
    if len(mine) != len(other) or abs(ours - theirs) > SAME_LOSS:
        raise SystemExit(f"LoRA and transformers + peft: {len(mine)}, {len(other)} tensors, losses {ours:.5f}, {theirs:.5f}: other work.")
    unreached = [sum(not bool(grad.any()) for grad in side) for side in (mine, other)]
    apart = max(float((a - b).abs().max()) for a, b in zip(mine, other, strict=True)) / max(float(grad.abs().max()) for grad in mine)
    if any(unreached) or apart > SAME_GRADIENT:
        raise SystemExit(f"LoRA and transformers + peft: {unreached} tensors without gradient, gradients {apart:.2g} apart: other work.")
    return {"tensors": len(mine), "losses apart": abs(ours - theirs), "gradients apart": apart}


def counted(job: Job) -> float:
    """How often peft's path on `nn.MultiheadAttention` counts the change of the output projection: 1 where it is right."""
    model, _ = pefts(job)
    attention: Any = model.eval().visual.transformer.resblocks[0].attn  # type: ignore[union-attr,operator,index]
    x, out = torch.randn(2, 5, attention.embed_dim, device=DEVICE), attention.base_layer.out_proj
    seen = []
    with torch.no_grad():
        before = attention(x, x, x, need_weights=False)[0]
        out.lora_B["default"].weight.normal_(std=0.02)
        seen = attention(x, x, x, need_weights=False)[0] - before
        change = out.get_delta_weight("default")
        out.lora_B["default"].weight.zero_()
        out.get_base_layer().weight.data += change
        once = attention(x, x, x, need_weights=False)[0] - before
    return float((seen * once).sum() / once.square().sum())


def prompts(job: Job, cached: bool, packed: bool = True) -> Callable[[], float]:
    """A step of prompt tuning: with image rows computed before and texts as long as they are, or as CoOp's code does, with neither.

    Args:
        job: what is seen.
        cached: as cliptune does.
        packed: prompts in rows that read their common start once; else one by one.
    """
    from cliptune.backbone import Backbone
    from cliptune.methods.base import ClassTexts
    from cliptune.methods.prompt_tuning import PromptTuning
    from cliptune.objectives.base import StepRows
    from cliptune.objectives.cross_entropy import CrossEntropy

    class OneByOne(Backbone):
        @property
        def packs(self) -> bool:
            return False

    images, labels = job.settle(), torch.randint(CLASSES, (len(job.texts),), device=DEVICE)
    backbone = (Backbone if packed else OneByOne)(job.model, job.weights).eval().requires_grad_(False).to(DEVICE)
    names = [str(i) for i in range(CLASSES)]
    classes = ClassTexts(names, [[f"a photo of a {i}."] for i in range(CLASSES)], backbone.preprocess)
    method, objective = PromptTuning(init="random"), CrossEntropy()
    method.attach(backbone, classes)
    whole = backbone.preprocess.tokenizer([f"{'X ' * 16}{name}." for name in names]).to(DEVICE)
    learned = nn.Parameter(torch.randn(16, backbone.model.token_embedding.weight.shape[1], device=DEVICE) * 0.02)
    with torch.no_grad():
        known = backbone.encode_image(images)
    if not cached:
        backbone.restore_shapes()  # open_clip's own towers

    def ours() -> Tensor:
        return objective(StepRows(known, backbone.logit_scale, classes=method.class_rows(backbone, classes).rows, label=labels))

    def coop() -> Tensor:
        with torch.no_grad():
            image_rows = F.normalize(backbone.model.encode_image(images), dim=-1)
        hook = backbone.model.token_embedding.register_forward_hook(
            lambda module, args, out: torch.cat([out[:, :1], learned.expand(len(out), -1, -1), out[:, 17:]], dim=1)
        )
        rows = F.normalize(backbone.model.encode_text(whole), dim=-1)
        hook.remove()
        return F.cross_entropy(backbone.logit_scale * image_rows @ rows.T, labels)

    return stepping(method.to(DEVICE).parameters(), ours, job.half) if cached else stepping([learned], coop, job.half)


def write_weights(model: str, folder: Path) -> None:
    """The same random weights for all sides: of open_clip, and as a CLIPModel with its tokenizer."""
    from cliptune.backbone import Backbone
    from cliptune.export.tokenizers import of_transformers
    from cliptune.export.transformers_clip import clip

    torch.manual_seed(0)
    backbone = Backbone(model, "random")
    tokenizer = of_transformers(backbone.preprocess.tokenizer)
    clip(backbone, tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    backbone.restore_shapes()
    torch.save(backbone.model.state_dict(), folder / "w.pt")


@cache
def memory_of(side: Side, job: Job) -> Alone:
    """Two steps in a process of their own; of three such, which the allocator leaves a tenth apart, the one in the middle."""
    return sorted((alone(step_of, side, job, 2) for _ in range(3)), key=lambda run: run.peak)[1]


def memory(other: Side, job: Job) -> dict[str, float]:
    """MB of the whole process at its peak, and beyond what was resident before the steps, which is model and libraries."""
    ours, theirs = memory_of(lora, job), memory_of(other, job)
    found = {"LoRA, peak MB": ours.peak, "other, peak MB": theirs.peak, "peak ratio": ours.peak / theirs.peak}
    found |= {"LoRA, MB beyond model": ours.extra, "other, MB beyond model": theirs.extra, "ratio beyond": ours.extra / theirs.extra}
    return {**found, **({"memory goal": MEMORY_GOAL} if other is transformers else {})}


def line(case: str, other: Side, job: Job, given: argparse.Namespace, at_most: float, whole: Job | None = None, **notes: float) -> Line:
    """LoRA against another side, which starts from the same loss; with `--memory`, the memory of both on the whole texts."""
    a, b = (step_of(side, job) for side in (lora, other))
    apart = abs(a() - b())
    if apart > (0.05 if job.half else SAME_LOSS):
        raise SystemExit(f"{case}: the losses of the first step are {apart:.2g} apart: the sides do not start from the same model.")
    pairs, greatest = alternate(a, b, given.pairs, warmup=1), greatest_rate(job.half)
    shares = [floating_rate(step, median(seconds)) / greatest for step, seconds in ((a, pairs.a), (b, pairs.b))]
    notes |= {"LoRA, share of the products' rate": shares[0], "other, share": shares[1]}
    del a, b
    if given.memory and job == whole:
        notes |= memory(other, job)
    return Line(f"LoRA / {case}, batch {len(job.texts)}", pairs, len(job.texts), at_most=at_most, notes={"losses apart": apart, **notes})


def lines_of(given: argparse.Namespace, folder: str) -> list[Line]:
    """All that was asked for."""
    half = given.precision == "bf16-mixed"
    jobs = {name: Job(given.model, folder, tuple(captions(given.batch, full)), given.threads, half=half) for name, full in TEXTS.items()}
    whole, found = next(iter(jobs.values())), []
    if "full" in given.against:
        found.append(line("full", full, whole, given, 0.70, whole))
    if "peft" in given.against:
        said = f"peft's attn (counts the change of out {counted(whole):.2f} times)"
        found += [line(f"{said}, {name}", pefts, job, given, round(1 / 1.1, 3), whole) for name, job in jobs.items()]
        found.append(line(said, pefts, replace(whole, texts=whole.texts[:2]), given, 0.8))
    if "transformers" in given.against:
        padded = replace(jobs["short captions"], padding="max_length")
        for name, job in {**jobs, "short captions padded to the context": padded}.items():
            found.append(line(f"transformers + peft, {name}", transformers, job, given, round(1 / 1.3, 3), whole, **compared(job)))
    if "prompts" in given.against:
        pairs = alternate(prompts(whole, True), prompts(whole, False), given.pairs, 1)
        case = f"prompts, {CLASSES} classes / image tower and full-length prompts in every step, batch {given.batch}"
        found.append(Line(case, pairs, given.batch, at_most=0.25))
    if "packed" in given.against:
        pairs = alternate(prompts(whole, True), prompts(whole, True, packed=False), given.pairs, 1)
        found.append(Line(f"prompts packed, {CLASSES} classes / one by one", pairs, given.batch, at_most=0.5))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    choices = ("full", "peft", "transformers", "prompts", "packed")
    parser.add_argument("--against", nargs="+", choices=choices, default=choices)
    parser.add_argument("--model", default="ViT-B-32", help="an open_clip architecture")
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[DEVICE == "cuda"], help="of both sides")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true", help="the memory of two steps of each side too, in processes of their own")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        write_weights(given.model, Path(folder))
        found = lines_of(given, folder)
    report("adapter_step" if given.precision == "32-true" else "adapter_step_bf16", "cliptune", "other", found, folder=given.output)


if __name__ == "__main__":
    main()
