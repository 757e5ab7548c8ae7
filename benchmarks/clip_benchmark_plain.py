"""What LAION's clip-benchmark does, in plain form, as whole processes on a folder of JPEGs: zero-shot evaluation, and its linear probe.

Written from what its repository says it does (LAION-AI/CLIP_benchmark, metrics/zeroshot_classification.py, metrics/linear_probe.py); where
`clip_benchmark` can be imported its own functions run instead, the probe's on a GPU alone, which it asks for. Beside them the other ways
that people take: transformers' pipeline, and scikit-learn on features. `python clip_benchmark_plain.py WHAT JOB.json` prints JSON.
"""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

PRESENT = find_spec("clip_benchmark") is not None
CUDA = torch.cuda.is_available()
BATCH = 64  # its command line's default
LR, EPOCHS = 0.1, 10  # --fewshot_lr and --fewshot_epochs, likewise
DECAYS = np.logspace(-6, 2, num=97).tolist()  # of weights; the search begins at every 16th of them
SPANS = (8, 4, 2, 1)  # places to the left and right of the peak that are tried next


def opened(job: dict[str, Any]) -> tuple[Any, Callable[[Any], Tensor], Any]:
    """The model, its transform for PIL images, and its tokenizer, by open_clip."""
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(job["model"], pretrained=job["weights"])
    return model.eval().to("cuda" if CUDA else "cpu"), transform, open_clip.get_tokenizer(job["model"])


def loader(job: dict[str, Any], split: str, transform: Any) -> DataLoader[Any]:
    """The images of a split, in order."""
    from torchvision.datasets import ImageFolder

    return DataLoader(ImageFolder(str(Path(job["folder"]) / split), transform), BATCH, num_workers=job["workers"])


def amp(job: dict[str, Any]) -> Any:
    """Its mixed precision, by default on: float16 on a GPU, bfloat16 on a CPU; with `--no_amp` none."""
    return torch.autocast("cuda" if CUDA else "cpu", enabled=job["amp"])


@torch.no_grad()
def class_rows(job: dict[str, Any], model: Any, tokenizer: Any) -> Tensor:
    """[C, D]: class after class, the mean of its texts' unit rows made unit again."""
    device = next(model.parameters()).device
    texts = [tokenizer([job["template"].replace("{}", name)]).to(device) for name in job["names"]]
    with amp(job):
        rows = [F.normalize(model.encode_text(text), dim=-1).mean(dim=0) for text in texts]
        return F.normalize(torch.stack(rows), dim=-1)


@torch.no_grad()
def features(job: dict[str, Any], model: Any, batches: DataLoader[Any]) -> tuple[Tensor, Tensor]:
    """Unit rows [N, D] and labels [N] of a split."""
    device, rows, labels = next(model.parameters()).device, [], []
    for images, label in batches:
        with amp(job):
            rows.append(F.normalize(model.encode_image(images.to(device)), dim=-1).float().cpu())
        labels.append(label)
    return torch.cat(rows), torch.cat(labels)


def zero_shot(job: dict[str, Any]) -> dict[str, Any]:
    """The logits of the test images, top-1, top-5 and the mean of the classes' recalls."""
    from sklearn.metrics import balanced_accuracy_score

    model, transform, tokenizer = opened(job)
    batches = loader(job, "test", transform)
    if PRESENT:
        theirs = their("zeroshot_classification")
        templates = [job["template"].replace("{}", "{c}")]
        found = theirs.evaluate(model, batches, tokenizer, job["names"], templates, "cuda" if CUDA else "cpu", amp=job["amp"])
        return {"top1": found["acc1"]}
    weights = class_rows(job, model, tokenizer).float().cpu()
    rows, labels = features(job, model, batches)
    logits = 100 * rows @ weights.T
    best = logits.topk(5).indices
    top5 = float((best == labels[:, None]).any(dim=1).float().mean())
    mean_recall = float(balanced_accuracy_score(labels, best[:, 0]))
    return {"top1": accuracy(logits, labels), "top5": top5, "mean_recall": mean_recall, "answers": best[:, 0].tolist()}


def their(name: str) -> Any:
    """A module of clip_benchmark.metrics; its `accuracy` makes a number of an array of one, which numpy 2.4 refuses, and is replaced."""
    module = import_module(f"clip_benchmark.metrics.{name}")

    def accuracies(logits: Tensor, labels: Tensor, topk: tuple[int, ...] = (1,)) -> list[float]:
        right = logits.topk(max(topk)).indices == labels[:, None]
        return [float(right[:, :k].any(dim=1).float().mean()) for k in topk]

    module.accuracy = accuracies  # type: ignore[attr-defined]
    return module


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1."""
    return float((logits.argmax(dim=1) == labels).float().mean())


def kept_features(job: dict[str, Any]) -> dict[str, tuple[Tensor, Tensor]]:
    """The splits' features: from its feature root, where they are after a first run; the model is loaded in either case, as there."""
    model, transform, _ = opened(job)
    root, found = Path(job["feature_root"]), {}
    root.mkdir(exist_ok=True)
    for split in ("train", "validation", "test"):
        if not (root / f"{split}.pt").exists():
            torch.save(features(job, model, loader(job, split, transform)), root / f"{split}.pt")
        found[split] = torch.load(root / f"{split}.pt")
    return found


def batched(rows: Tensor, labels: Tensor, workers: int) -> DataLoader[Any]:
    """Shuffled batches of features, one row after another by workers, as there."""
    return DataLoader(TensorDataset(rows, labels), BATCH, shuffle=True, num_workers=workers)


def trained(batches: DataLoader[Any], width: int, classes: int, decay: float, seed: int = 0) -> nn.Linear:
    """A linear layer by AdamW, whose learning rate falls by a cosine."""
    torch.manual_seed(seed)
    device = "cuda" if CUDA else "cpu"
    layer = nn.Linear(width, classes).to(device)
    optimizer = torch.optim.AdamW(layer.parameters(), LR, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(batches))
    for _ in range(EPOCHS):
        for rows, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(layer(rows.to(device)), labels.to(device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return layer


@torch.no_grad()
def scored(layer: nn.Linear, batches: DataLoader[Any]) -> float:
    """Top-1."""
    device = layer.weight.device
    parts = [(layer(rows.to(device)).cpu(), labels) for rows, labels in batches]
    return accuracy(torch.cat([logits for logits, _ in parts]), torch.cat([labels for _, labels in parts]))


def linear_probe(job: dict[str, Any]) -> dict[str, Any]:
    """Weight decay chosen on validation by a search that narrows, then one more training on train and validation, then test."""
    if PRESENT and CUDA:
        return _their_probe(job)
    found = kept_features(job)
    train, held, test = (batched(*found[split], job["workers"]) for split in ("train", "validation", "test"))
    width, classes = found["train"][0].shape[1], len(job["names"])

    def peak(places: list[int]) -> int:
        scores = {i: scored(trained(train, width, classes, DECAYS[i]), held) for i in places}
        return max(scores, key=lambda i: scores[i])

    best = peak(list(range(0, len(DECAYS), 16)))
    for span in SPANS:
        best = peak([max(best - span, 0), best, min(best + span, len(DECAYS) - 1)])
    rows, labels = (torch.cat([found["train"][i], found["validation"][i]]) for i in (0, 1))
    layer = trained(batched(rows, labels, job["workers"]), width, classes, DECAYS[best])
    return {"top1": scored(layer, test), "weight_decay": DECAYS[best]}


def _their_probe(job: dict[str, Any]) -> dict[str, Any]:
    theirs = their("linear_probe")
    model, transform, _ = opened(job)
    train, held, test = (loader(job, split, transform) for split in ("train", "validation", "test"))
    where = ("features", 0, job["feature_root"], "cuda")
    found = theirs.evaluate(
        model, train, test, -1, BATCH, job["workers"], LR, EPOCHS, *where, val_dataloader=held, normalize=True, amp=job["amp"]
    )
    return {"top1": found["lp_acc1"], "weight_decay": found["weight_decay"]}


def scikit(job: dict[str, Any]) -> dict[str, Any]:
    """The features of all splits, then scikit-learn's logistic regression, whose strength CLIP's search chooses on validation."""
    from published.clip_probe import fitted, search

    found = {split: (rows.numpy(), labels.numpy()) for split, (rows, labels) in kept_features(job).items()}
    strength = search(lambda value: float(fitted(*found["train"], value).score(*found["validation"])))
    return {"top1": float(fitted(*found["train"], strength).score(*found["test"])), "strength": strength}


def pipeline(job: dict[str, Any]) -> dict[str, Any]:
    """The pipeline of transformers on the files' paths, in batches, which it does not take by itself."""
    from transformers import pipeline as made

    files = sorted(str(file) for file in (Path(job["folder"]) / "test").glob("*/*.jpg"))
    dtype, device = (torch.bfloat16, 0) if CUDA else (torch.float32, -1)
    pipe = made("zero-shot-image-classification", model=job["transformers"], dtype=dtype, device=device)
    said = pipe(files, candidate_labels=job["names"], hypothesis_template=job["template"], batch_size=BATCH, num_workers=job["workers"])
    return {"answers": [job["names"].index(one[0]["label"]) for one in said]}


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
    torch.set_num_threads(given["threads"])
    ways = {"zero_shot": zero_shot, "linear_probe": linear_probe, "scikit": scikit, "pipeline": pipeline}
    print(json.dumps(ways[sys.argv[1]](given)))
