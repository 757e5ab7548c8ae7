"""Few-shot accuracy: cliptune's methods against the published algorithms as their papers state them, on the same weights and images.

cliptune runs as `cliptune fit` with the config of few_shot.py; the algorithms of published/ run in this process on the images that
cliptune drew, which is checked by their digest. Each cell is written as it ends, so that a stopped measurement goes on where it was. The
whole takes many hours: `--share 0.1` runs a tenth of the published epochs or steps, and says so in each line. `--draws` asks, of some cells
in which cliptune is below, whether more draws of the images say so too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from few_shot import ROOT, SETS, config, table_of
from measure import RESULTS, circumstances, skip_without
from published import ALGORITHMS, Part, Task
from torch import Tensor

from cliptune.backbone import Backbone
from cliptune.data.images import ImageTextData
from cliptune.devices import default_precision

DATA, SHOTS = ("dcss_tiles", "caltech101"), (1, 2, 4, 8, 16)
LBFGS = {"solver": "lbfgs"}
ENTRIES: dict[str, dict[str, Any]] = {  # cliptune's side, by the published algorithm
    "CLIP's probe": {"method": {"class_path": "LinearProbe", "init_args": {**LBFGS, "start": "zero"}}},
    "CLAP": {"method": {"class_path": "LinearProbe", "init_args": LBFGS}},
    "LP++": {"method": {"class_path": "LinearProbe", "init_args": LBFGS}},
    "CoOp": {"method": {"class_path": "PromptTuning"}},
    "CLIP-LoRA": {"method": {"class_path": "LoRA", "init_args": {"rank": 4}}},
    "FLYP": {"method": {"class_path": "Full"}, "objective": "Contrastive"},
    "VPT": {"method": {"class_path": "PromptTuning", "init_args": {"towers": "image", "depth": "deep"}}},
}
EPOCHS = {  # by shots: as published, or the most that we take
    "CoOp": {1: 50, 2: 100, 4: 100, 8: 200, 16: 200},
    "VPT": dict.fromkeys(SHOTS, 100),
    "CLIP-LoRA": dict.fromkeys(SHOTS, 200),
}
PUBLISHED = {("caltech101", "CLIP-LoRA"): 160}  # of 100 classes its 500 steps a shot; of the 8 of dcss_tiles 2,000
MOST_EPOCHS = 100
DRAWN = (
    ("dcss_tiles", "CLIP's probe", 16),
    ("dcss_tiles", "CoOp", 4),
    ("caltech101", "CLIP's probe", 2),
)  # of --draws: those that are cheap
DRAWS = range(4, 21)  # seeds, beside those of the whole; the published lists of caltech101 are three
RATES = {"CLIP-LoRA": (3e-4, 1e-5), "FLYP": (3e-4, 1e-5)}  # of what learns in the towers; validation chooses, as FLYP's paper has it
Cell = tuple[str, str, int, int]  # set, algorithm, shots, seed


def fit(cell: Cell, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The side of cliptune, at the rate that validation finds best; of equal ones the one with the lower cross-entropy there."""
    tried = [fit_at(rate, cell, given, folder) for rate in RATES.get(cell[1], (given.lr,))]
    best = max(tried, key=lambda one: (one["validation"], -one["validation_loss"]))
    told = [{key: one[key] for key in ("lr", "validation", "validation_loss", "top1", "seconds")} for one in tried]
    return {**best, "seconds": sum(one["seconds"] for one in tried), **({"rates": told} if len(tried) > 1 else {})}


def fit_at(lr: float, cell: Cell, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One fit: validation chooses among ten epochs, and equally many steps are taken at all shots, but for `EPOCHS`."""
    name, algorithm, shots, seed = cell
    made = config(name, of_set(name, given), lr)
    usual = min(given.epochs * max(16 // shots, 1), max(MOST_EPOCHS, given.epochs))
    epochs = EPOCHS.get(algorithm, {}).get(shots, usual)
    epochs = min(epochs, PUBLISHED.get((name, algorithm), epochs))
    made["model"].update(ENTRIES[algorithm])
    made["data"]["shots"] = shots
    solved = LBFGS.items() <= ENTRIES[algorithm]["method"].get("init_args", {}).items()  # in one epoch, which must be validated
    made["trainer"] = {"max_epochs": epochs, "check_val_every_n_epoch": 1 if solved else max(epochs // 10, 1)}
    file = folder / "config.yaml"
    file.write_text(json.dumps(made), encoding="utf-8")
    words = [sys.executable, "-m", "cliptune", "fit", "--config", str(file), "--seed_everything", str(seed)]
    run = f"{name}-{list(ENTRIES).index(algorithm)}-{shots}-{seed}-{lr:g}"
    done = subprocess.run([*words, "--run.root", str(folder), "--run.name", run], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}\n{done.stderr}")
    summary = json.loads((folder / run / "summary.json").read_text(encoding="utf-8"))
    adapted = summary["adapted"]
    return {
        "zero_shot": summary["zero_shot"]["test/top1"],
        "top1": adapted["test/top1"],
        "validation": adapted["val/top1"],
        "validation_loss": adapted["val/nll"],
        "seconds": summary["seconds"]["fit"],
        "images": summary["few_shot"],
        "epochs": epochs,
        "lr": lr,
    }


def of_set(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """What differs between the sets; without the published lists of images where more draws than theirs are asked for."""
    return {key: value for key, value in SETS[name].items() if key != "shots_column" or not given.draws}


def task(cell: Cell, given: argparse.Namespace, known: dict[str, Tensor]) -> tuple[Task, str]:
    """What the published side is given, and the digest of its images."""
    name, _, shots, seed = cell
    data: dict[str, Any] = {**config(name, of_set(name, given), given.lr)["data"], "shots": shots, "seed": seed}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    backbone = Backbone("nano").to(device).eval().requires_grad_(False)
    module = ImageTextData(str(ROOT / data.pop("path")), preprocess=backbone.preprocess, needs="classes", **data)
    module.setup()
    template = SETS[name]["templates"]
    if module.class_texts != [[template.replace("{}", one)] for one in module.class_names]:
        raise SystemExit(f"{name}: the class texts are not those of the template {template!r}")
    train, validation, test = (part(module, split) for split in ("train", "validation", "test"))
    how: dict[str, Any] = {"seed": seed, "share": given.share, "views": given.views, "half": default_precision("auto") == "bf16-mixed"}
    made = Task(backbone, module.class_names, template, train, validation, test, known=known, **how)
    return made, module.chosen.digest


def part(module: ImageTextData, split: str) -> Part:
    """The images of a split, decoded, with their class numbers."""
    rows = module.rows(split)
    found = [row for _, _, row in rows[[(0, i) for i in range(len(rows))]]]
    assert module.preprocess is not None
    images = [module.preprocess.decode(row.image) for row in found]  # type: ignore[arg-type]
    return Part(images, torch.tensor([module.class_number[row.label or ""] for row in found]))


def publish(cell: Cell, given: argparse.Namespace, known: dict[str, Tensor]) -> dict[str, Any]:
    """The published side."""
    made, digest = task(cell, given, known)
    began = time.perf_counter()
    logits = ALGORITHMS[cell[1]](made)
    seconds, right = time.perf_counter() - began, made.test.labels
    zero_shot = float(((made.rows("test") @ made.class_rows().T).argmax(dim=1) == right).float().mean())
    top1 = float((logits.argmax(dim=1) == right).float().mean())
    told = {"half": made.half, "share": given.share, "views": given.views}
    return {"zero_shot": zero_shot, "top1": top1, "seconds": seconds, "images": digest, **told}


def table(found: list[dict[str, Any]]) -> str:
    """A Markdown table: a row for each set and algorithm, a column for each number of shots."""
    groups = grouped(found)
    shots = sorted({key[2] for key in groups})
    head = ["data", "published", *(f"{count} shot{'s' * (count > 1)}" for count in shots), "not below"]
    lines = [head, ["---"] * len(head)]
    for name, algorithm in dict.fromkeys(key[:2] for key in groups):
        own = {count: runs for count in shots if (runs := groups.get((name, algorithm, count)))}
        share = {run["published"]["share"] for runs in own.values() for run in runs} - {1.0}
        told = f"{algorithm}{f' ({min(share):g} of its length)' if share else ''}"
        met = sum(goal(difference(runs)) == "met" for runs in own.values())
        lines.append([name, told, *(cell(own[count]) if count in own else "" for count in shots), f"{met} of {len(own)}"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def cell(runs: list[dict[str, Any]]) -> str:
    """The published top-1 / cliptune's, and the difference: bold where it is below, with a word where that is within a standard error."""
    apart = difference(runs)
    ours, theirs = (mean(run[side]["top1"] for run in runs) for side in ("cliptune", "published"))
    said = f"{mean(apart):+.1f}{f' ± {stdev(apart):.1f}' if len(apart) > 1 else ''}"
    below = {"met": said, "missed": f"**{said}**"}.get(goal(apart), f"**{said}**, within error")
    return f"{theirs:.3f} / {ours:.3f}<br>{below}{f', n = {len(runs)}' if len(runs) != 3 else ''}"


def difference(runs: list[dict[str, Any]]) -> list[float]:
    """Cliptune's top-1 less the published algorithm's, in points, by seed."""
    return [100 * (run["cliptune"]["top1"] - run["published"]["top1"]) for run in runs]


def goal(apart: list[float]) -> str:
    """Met where the mean difference is not below nothing; else whether that is by no more than its standard error."""
    error = stdev(apart) / len(apart) ** 0.5 if len(apart) > 1 else 0.0
    return "met" if mean(apart) >= 0 else "within one standard error" if mean(apart) >= -error else "missed"


def derived(found: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page shows: the table, a goal for each measured cell (algorithm, set and number of shots), and how many cells there are."""
    goals = []
    for (name, algorithm, shots), runs in grouped(found).items():
        apart = difference(runs)
        said = goal(apart)
        told = f"{mean(apart):+.1f} points{', within one standard error' if said.startswith('within') else ''}"
        told += f", n = {len(runs)}" * (len(runs) < 3)
        goals.append({"case": f"{algorithm}, {name}, {shots} shot{'s' * (shots > 1)} ({told})", "met": said == "met"})
    return {"table": table(found), "goals": goals, "planned": len(ENTRIES) * len(DATA) * len(SHOTS)}


def grouped(found: list[dict[str, Any]]) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """The cells that both sides have run, by set, algorithm and shots."""
    groups: dict[tuple[str, str, int], list[dict[str, Any]]] = {}
    for run in found:
        if "cliptune" in run and "published" in run:
            groups.setdefault((run["set"], run["algorithm"], run["shots"]), []).append(run)
    return groups


def complete(cell: Cell, found: list[dict[str, Any]], given: argparse.Namespace, known: dict[str, Tensor], folder: Path) -> None:
    """Run what a cell lacks, cliptune's side first, and write it down."""
    keys: dict[str, Any] = dict(zip(("set", "algorithm", "shots", "seed"), cell, strict=True))
    run = next((one for one in found if all(one[key] == value for key, value in keys.items())), None)
    if run is None:
        run = keys
        found.append(run)
    for side, call in (("cliptune", lambda: fit(cell, given, folder)), ("published", lambda: publish(cell, given, known))):
        if side not in given.sides or (side in run and not (given.again and side == "published")):
            continue
        twin = next((one for one in found if side == "cliptune" and side in one and same_fit(one, keys)), None)
        run[side] = twin[side] if twin else call()
        print(
            *cell, side, f"top-1 {run[side]['top1']:.4f}, zero-shot {run[side]['zero_shot']:.4f}, {run[side]['seconds']:.0f} s", flush=True
        )
        told = {"table": table(found)} if given.draws else derived(found)
        whole = {**circumstances(), **told, "runs": found}
        given.output.parent.mkdir(exist_ok=True)
        given.output.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    if "cliptune" in run and "published" in run and run["cliptune"]["images"] != run["published"]["images"]:
        raise SystemExit(f"{cell}: the two sides did not see the same images.")


def same_fit(one: dict[str, Any], keys: dict[str, Any]) -> bool:
    """Whether another algorithm's cell has the same fit of cliptune: CLAP and LP++ meet the same probe."""
    same = all(one[key] == keys[key] for key in ("set", "shots", "seed"))
    return same and ENTRIES[one["algorithm"]] == ENTRIES[keys["algorithm"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="*", default=list(DATA), choices=SETS)
    parser.add_argument("--methods", nargs="*", default=list(ENTRIES), choices=ENTRIES, help="by the published algorithm")
    parser.add_argument("--shots", nargs="*", type=int, default=list(SHOTS))
    parser.add_argument("--seeds", nargs="*", type=int)
    parser.add_argument("--draws", action="store_true", help=f"of {len(DRAWN)} cells more draws: seeds {DRAWS[0]} to {DRAWS[-1]}")
    parser.add_argument("--sides", nargs="*", default=["cliptune", "published"], choices=["cliptune", "published"])
    parser.add_argument("--again", action="store_true", help="run the published side where it is known too: its algorithm was mended")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of the published number of epochs or steps; other shares want another --output"
    )
    parser.add_argument("--views", type=int, default=20, help="crops of each training image that are encoded for frozen towers")
    parser.add_argument("--epochs", type=int, default=20, help="of cliptune's side at 16 shots")
    parser.add_argument("--lr", type=float, default=3e-4, help="of cliptune's side, on which methods have their factors")
    parser.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    given.seeds = given.seeds or (list(DRAWS) if given.draws else [1, 2, 3])
    given.output = given.output or RESULTS / f"few_shot_{'draws' if given.draws else 'peers'}.json"
    skip_without(*(table_of(name) for name in given.sets))
    torch.set_num_threads(given.threads)
    os.environ["OMP_NUM_THREADS"] = str(given.threads)  # of cliptune's processes
    found: list[dict[str, Any]] = json.loads(given.output.read_text(encoding="utf-8"))["runs"] if given.output.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sets:
            known: dict[str, Tensor] = {}
            cells = [(name, method, shots, seed) for method in given.methods for shots in given.shots for seed in given.seeds]
            for cell in cells:
                if given.draws and cell[:3] not in DRAWN:
                    continue
                complete(cell, found, given, known, Path(folder))
    print(table(found))


if __name__ == "__main__":
    main()
