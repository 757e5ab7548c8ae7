"""A training step of LoRA and of prompt tuning on ViT-B-32, against full fine-tuning, peft's own path, and a plain CoOp step.

Every side sees the same batch of random pixels and texts. LoRA is on q, k and v of both towers; peft's own path, which is wrong (it
applies the output projection's change twice and has one pair for q, k and v), is `target_modules=["attn"]` on the untouched model.
"""

import argparse
import warnings
from collections.abc import Callable, Iterable

import open_clip
import torch
import torch.nn.functional as F
from full_step import captions, prepare
from measure import Line, alternate, peak_alone, report
from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from cliptune.backbone import Backbone
from cliptune.methods.base import ClassTexts
from cliptune.methods.lora import LoRA
from cliptune.methods.prompt_tuning import PromptTuning
from cliptune.objectives.base import StepRows
from cliptune.objectives.cross_entropy import CrossEntropy

RANK, CLASSES = 4, 47  # as many as the textures of DTD
Step = Callable[[], object]


def contrastive_step(model: nn.Module, learning: Iterable[nn.Parameter], batch: int) -> Step:
    """A step of open_clip's loss over what learns; texts fill the context."""
    torch.manual_seed(0)
    images = torch.randn(batch, 3, 224, 224)
    tokens = open_clip.get_tokenizer("ViT-B-32")(captions(batch, full=True))
    optimizer = torch.optim.AdamW(list(learning), lr=1e-6)
    objective = open_clip.ClipLoss()

    def step() -> None:
        optimizer.zero_grad()
        rows = model.encode_image(images, normalize=True), model.encode_text(tokens, normalize=True)  # type: ignore[operator]
        objective(*rows, model.logit_scale.exp()).backward()  # type: ignore[operator]
        optimizer.step()

    return step


def full(batch: int) -> Step:
    """All of the model learns."""
    model = open_clip.create_model("ViT-B-32").train()
    return contrastive_step(model, model.parameters(), batch)


def pefts(batch: int) -> Step:
    """Peft on `nn.MultiheadAttention`."""
    model = open_clip.create_model("ViT-B-32")
    inject_adapter_in_model(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["attn"]), model)
    return contrastive_step(model.train(), [p for p in model.parameters() if p.requires_grad], batch)


def lora(batch: int) -> Step:
    """Cliptune's LoRA."""
    backbone, method = Backbone("ViT-B-32", "random"), LoRA(rank=RANK)
    method.attach(backbone, ClassTexts([], [], backbone.preprocess))
    method.train_mode(backbone)
    return contrastive_step(backbone.model, [p for p in backbone.parameters() if p.requires_grad], batch)


def prompts(batch: int, cached: bool) -> Step:
    """A step of prompt tuning: with image rows computed before and texts as long as they are, or as CoOp's code does, with neither."""
    torch.manual_seed(0)
    backbone = Backbone("ViT-B-32", "random").eval()
    names = [f"{word} pattern" for word in captions(CLASSES, full=False)]
    classes = ClassTexts([str(i) for i in range(CLASSES)], [[f"a photo of a {i}."] for i in range(CLASSES)], backbone.preprocess)
    method = PromptTuning(init="random")
    method.attach(backbone, classes)
    images, labels = torch.randn(batch, 3, 224, 224), torch.randint(CLASSES, (batch,))
    with torch.no_grad():
        known = backbone.encode_image(images)
    optimizer, objective = torch.optim.AdamW(method.parameters(), lr=1e-6), CrossEntropy()
    whole = backbone.preprocess.tokenizer(names)
    learned = nn.Parameter(torch.randn(16, 512) * 0.02)
    plain = torch.optim.AdamW([learned], lr=1e-6)

    def ours() -> None:
        optimizer.zero_grad()
        rows = method.class_rows(backbone, classes)
        objective(StepRows(known, backbone.logit_scale, classes=rows.rows, label=labels)).backward()
        optimizer.step()

    def coop() -> None:
        plain.zero_grad()
        with torch.no_grad():
            image_rows = F.normalize(backbone.model.encode_image(images), dim=-1)
        hook = backbone.model.token_embedding.register_forward_hook(
            lambda module, args, out: torch.cat([out[:, :1], learned.expand(len(out), -1, -1), out[:, 17:]], dim=1)
        )
        rows = F.normalize(backbone.model.encode_text(whole), dim=-1)
        hook.remove()
        F.cross_entropy(100 * image_rows @ rows.T, labels).backward()
        plain.step()

    return ours if cached else coop


def alone(side: Callable[[int], Step], batch: int, threads: int) -> None:
    """Two steps of one side, for its memory."""
    prepare(threads)
    step = side(batch)
    step(), step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--memory", action="store_true", help="the peak memory of LoRA's and peft's steps too, in processes of their own")
    given = parser.parse_args()
    prepare(given.threads)
    warnings.filterwarnings("ignore")
    batch = given.batch
    ours = lora(batch)
    lines = [Line(f"LoRA / full, batch {batch}", alternate(ours, full(batch), given.pairs, 1), batch, at_most=0.70)]
    notes = {f"{s.__name__}, peak MB": peak_alone(alone, s, batch, given.threads) for s in (lora, pefts, full)} if given.memory else {}
    lines.append(Line(f"LoRA / peft's attn, batch {batch}", alternate(ours, pefts(batch), given.pairs, 1), batch, at_most=1.0, notes=notes))
    lines.append(Line("LoRA / peft's attn, batch 2", alternate(lora(2), pefts(2), 2 * given.pairs, 1), 2, at_most=0.8))
    pairs = alternate(prompts(batch, True), prompts(batch, False), given.pairs, 1)
    lines.append(Line(f"prompts, {CLASSES} classes / uncached, batch {batch}", pairs, batch, at_most=0.25))
    report("adapter_step", "cliptune", "other", lines)


if __name__ == "__main__":
    main()
