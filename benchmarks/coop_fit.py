"""A whole fit of prompt tuning at 16 shots of 100 classes, from images on disk to a test score, against a plain CoOp loop.

CoOp (Zhou et al. 2022, "Learning to Prompt for Vision-Language Models", sec. 4.1) as its paper and published configurations have it: 16
words from noise before the class name, SGD of 0.002 by a cosine after an epoch at 1e-5, batches of 32, 200 epochs for 16 shots; each step
decodes, crops and mirrors its images, runs the image tower, and reads prompts of the whole context. `cliptune fit` starts and learns in the
same way, on the same images and as many epochs; it takes the images' rows from a cache, which is empty before each fit, and so of one view
of each image, or of as many as `--views` says. Each side is a process of its own, and start-up is counted on both.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from io import BytesIO
from math import cos, pi
from pathlib import Path
from statistics import mean
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from measure import RESULTS, Line, Pairs, report, skip_without
from torch import Tensor, nn

DATA = Path(__file__).parents[2] / "shared" / "data" / "caltech101" / "data.parquet"
WORDS, STD, LR, WARMUP_LR, MOMENTUM, DECAY, BATCH = 16, 0.02, 2e-3, 1e-5, 0.9, 5e-4, 32
LR_FACTOR = 200.0  # cliptune's on words
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def precision() -> torch.autocast:
    """Float32 on a CPU, bfloat16 on a GPU."""
    return torch.autocast(DEVICE, torch.bfloat16, enabled=DEVICE == "cuda")


class Images(torch.utils.data.Dataset[tuple[Tensor, int]]):
    """Rows of a table, decoded and transformed when they are asked for."""

    def __init__(self, table: Any, numbers: dict[str, int], transform: Any) -> None:
        self.table, self.numbers, self.transform = table, numbers, transform

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        from PIL import Image

        row = self.table[i]
        return self.transform(Image.open(BytesIO(row["image"]["bytes"])).convert("RGB")), self.numbers[row["label"]]


def loaders(given: argparse.Namespace, mean_of: Any, size: Any, eval_transform: Any) -> tuple[list[str], Any, Any]:
    """The class names, and loaders of the listed training images and of all test images."""
    from datasets import Dataset, Image
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode.BICUBIC)  # of 8 % to all of the area
    last = [v2.RandomHorizontalFlip(), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(*mean_of)]
    table = Dataset.from_parquet(str(DATA), cache_dir=given.folder).cast_column("image", Image(decode=False))
    labels, splits, lists = (table[name] for name in ("label", "split", "fewshot_list"))
    names = sorted(set(labels))
    numbers, wanted = {name: i for i, name in enumerate(names)}, f"train_shot{given.shots}_seed{given.seed}"
    train = [i for i, (split, listed) in enumerate(zip(splits, lists, strict=True)) if split == "train" and wanted in (listed or [])]
    test = [i for i, split in enumerate(splits) if split == "test"]
    options: dict[str, Any] = {"num_workers": given.workers, "persistent_workers": given.workers > 0}
    views = [Images(table.select(rows), numbers, view) for rows, view in ((train, v2.Compose([crop, *last])), (test, eval_transform))]
    own = DataLoader(views[0], BATCH, shuffle=True, drop_last=True, **options)
    return [name.replace("_", " ") for name in names], own, DataLoader(views[1], 100, num_workers=given.workers)


def coop(given: argparse.Namespace) -> dict[str, float]:
    """The plain loop; test top-1 and training images."""
    import open_clip

    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    model, _, view = open_clip.create_model_and_transforms(given.model, pretrained=given.weights or None)
    model.eval().requires_grad_(False).to(DEVICE)
    about: Any = model.visual.preprocess_cfg
    names, train, test = loaders(given, (about["mean"], about["std"]), about["size"], view)
    tokens = open_clip.get_tokenizer(given.model)([f"{'X ' * WORDS}{name}." for name in names]).to(DEVICE)  # [C, L], all of the context
    words = nn.Parameter(torch.randn(WORDS, model.token_embedding.weight.shape[1], device=DEVICE) * STD)
    model.token_embedding.register_forward_hook(
        lambda module, args, out: torch.cat([out[:, :1], words.expand(len(out), -1, -1), out[:, WORDS + 1 :]], dim=1)
    )
    optimizer = torch.optim.SGD([words], LR, MOMENTUM, weight_decay=DECAY)
    scale = model.logit_scale.exp()

    def logits(images: Tensor, rows: Tensor) -> Tensor:
        return scale * F.normalize(model.encode_image(images.to(DEVICE)), dim=-1) @ rows.T

    for epoch in range(given.epochs):
        optimizer.param_groups[0]["lr"] = LR * (1 + cos(pi * epoch / given.epochs)) / 2 if epoch else WARMUP_LR
        for images, labels in train:
            with precision():
                found = logits(images, F.normalize(model.encode_text(tokens), dim=-1))
                loss = F.cross_entropy(found, labels.to(DEVICE))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.inference_mode(), precision():
        rows = F.normalize(model.encode_text(tokens), dim=-1)
        right = [logits(images, rows).argmax(dim=1).cpu() == labels for images, labels in test]
    return {"test top-1": float(torch.cat(right).float().mean()), "images": len(train.dataset)}


def fit(given: argparse.Namespace, folder: Path, views: int) -> tuple[float, dict[str, float]]:
    """The seconds of a whole `cliptune fit`, and what it says."""
    backbone = {"name": given.model, **({"pretrained": given.weights} if given.weights else {})}
    sgd = {"lr": LR / LR_FACTOR, "momentum": MOMENTUM, "weight_decay": DECAY}
    random = {"init": "random", "words": WORDS, "lr_factor": LR_FACTOR}
    made = {
        "seed_everything": given.seed,
        "model": {
            "backbone": backbone,
            "method": {"class_path": "PromptTuning", "init_args": random if given.init == "random" else {"lr_factor": LR_FACTOR}},
            "objective": "CrossEntropy",
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": sgd},
            "schedule": {"warmup": 1 / given.epochs if given.epochs > 1 else 0.0},
        },
        "data": {
            "path": str(DATA),
            "caption_column": None,
            "label_column": "label",
            "shots": given.shots,
            "shots_column": "fewshot_list",
            "batch_size": BATCH,
            "views": views,
        },
        "trainer": {"max_epochs": given.epochs, "check_val_every_n_epoch": max(given.epochs // 10, 1)},
        "watch": {"patience": None},
        "run": {"pictures": False, "root": str(folder), "name": f"run-{views}"},
    }
    (folder / "config.yaml").write_text(json.dumps(made), encoding="utf-8")
    seconds = process(["-m", "cliptune", "fit", "--config", str(folder / "config.yaml")], given, folder)
    told = json.loads((folder / f"run-{views}" / "summary.json").read_text(encoding="utf-8"))
    return seconds, {"test top-1": told["adapted"]["test/top1"], "images": told["counts"]["train"]}


def process(words: list[str], given: argparse.Namespace, folder: Path) -> float:
    """The seconds of a Python process, with empty caches."""
    environment = {**os.environ, "CLIPTUNE_CACHE": str(folder / "rows"), "OMP_NUM_THREADS": str(given.threads)}
    began = perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    return perf_counter() - began


def plain(given: argparse.Namespace, folder: Path) -> tuple[float, dict[str, float]]:
    """The seconds of the plain loop, and what it says."""
    options = {key: getattr(given, key) for key in ("model", "weights", "epochs", "shots", "seed", "threads", "workers")}
    options["model"] = f"local-dir:{NANO}" if given.model == "nano" else given.model
    words = [str(Path(__file__)), "--folder", str(folder), *(word for key, value in options.items() for word in (f"--{key}", str(value)))]
    seconds = process(words, given, folder)
    return seconds, json.loads((folder / "coop.json").read_text(encoding="utf-8"))


NANO = Path(__file__).parents[1] / "cliptune" / "nano"


def measured(given: argparse.Namespace) -> list[Line]:
    """Time cliptune under each number of views, then the plain loop, in turns."""
    pairs = {views: Pairs() for views in given.views}
    said: dict[int, list[dict[str, float]]] = {views: [] for views in given.views}
    theirs = []
    for _ in range(given.pairs):
        for views in given.views:
            with tempfile.TemporaryDirectory() as name:
                seconds, told = fit(given, Path(name), views)
            pairs[views].a.append(seconds)
            said[views].append(told)
        with tempfile.TemporaryDirectory() as name:
            seconds, told = plain(given, Path(name))
        theirs.append(told)
        for found in pairs.values():
            found.b.append(seconds)
    if any(told["images"] != theirs[0]["images"] for every in said.values() for told in every):
        raise SystemExit("the sides did not learn from as many images: they do not do the same work.")
    lines = []
    for views, found in pairs.items():
        notes = {"cliptune, test top-1": mean(told["test top-1"] for told in said[views])}
        notes |= {"CoOp, test top-1": mean(told["test top-1"] for told in theirs), "training images": theirs[0]["images"]}
        seen = f"{views} random views" if views else "evaluation's view"
        case = f"{given.model}, {given.shots} shots, {given.epochs} epochs, words from {given.init}, {seen} of each image"
        lines.append(Line(case, found, int(theirs[0]["images"]) * given.epochs, at_most=0.1, notes=notes))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="nano", help="an open_clip architecture")
    parser.add_argument(
        "--weights", default="", help="a tag or a file, for other models than nano; random, told by a seed, where not given"
    )
    parser.add_argument("--epochs", type=int, default=10, help="the paper has 200 at 16 shots")
    parser.add_argument("--shots", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--views", nargs="+", type=int, default=[0, 4], help="of each image in cliptune; 0 is evaluation's")
    parser.add_argument("--init", choices=("random", "template"), default="random", help="of cliptune's words")
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=min(8, max(1, (os.cpu_count() or 2) - 1)), help="processes that decode for CoOp")
    parser.add_argument("--output", type=Path, default=RESULTS, help="a folder")
    parser.add_argument("--folder", default="", help=argparse.SUPPRESS)  # of the plain loop's process
    given = parser.parse_args()
    if given.folder:
        (Path(given.folder) / "coop.json").write_text(json.dumps(coop(given)), encoding="utf-8")
        return
    skip_without(DATA)
    with tempfile.TemporaryDirectory() as name:
        if given.model != "nano" and not given.weights:
            import open_clip

            torch.manual_seed(0)
            given.weights = f"{name}/w.pt"
            torch.save(open_clip.create_model(given.model).state_dict(), given.weights)
        report("coop_fit", "cliptune fit", "CoOp's loop", measured(given), folder=given.output)


if __name__ == "__main__":
    main()
