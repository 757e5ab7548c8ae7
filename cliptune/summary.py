"""What a run ends with: `summary.json`, the pictures, and the table that people read first."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from cliptune.checkpoint import read, rebuild
from cliptune.errors import CheckpointError
from cliptune.run import peak_memory_mb, versions

if TYPE_CHECKING:
    from cliptune.cli import AdaptCLI


@dataclass
class Scores:
    """Metrics by name, before and after, and how long the work took."""

    zero_shot: dict[str, float] = field(default_factory=dict)
    adapted: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def conclude(cli: AdaptCLI, scores: Scores, checkpoint: Path | None) -> None:
    """Write the summary, draw the pictures, print what was learned and the table.

    Args:
        cli: at its end.
        scores: to tell.
        checkpoint: that was scored; a sharded model is read from it again, since no process has it whole.
    """
    module = cli.model
    whole = (module.backbone, module.method) if not module.sharded else rebuild(read(checkpoint)) if checkpoint else None
    summary = summarise(cli, scores)
    cli.run.write_summary(summary)
    if cli.run.pictures:
        from cliptune.pictures import draw_curves, draw_examples

        if cli.subcommand == "fit":
            draw_curves(cli.run.folder)
        if whole is not None and not cli.datamodule.vectors:
            backbone, method = whole
            draw_examples(cli.run.folder, backbone, method, module.classes, cli.datamodule)
    if cli.subcommand == "fit" and whole is not None and (learned := whole[1].report(whole[0])):
        print(learned)
    print_table(summary, cli.run.folder)


def summarise(cli: AdaptCLI, scores: Scores) -> dict[str, Any]:
    """Everything that a reader, or a later program, needs to know of the run, as plain data."""
    module, data = cli.model, cli.datamodule
    parameters = [p for part in (module.backbone, module.method, module.objective) for p in part.parameters()]  # no teacher's
    counted = {"all": parameters, "learned": [p for p in parameters if p.requires_grad]}
    training = cli.subcommand == "fit"
    summary: dict[str, Any] = {
        "command": cli.subcommand,
        "backbone": module.backbone.describe()["arguments"],
        "method": module.method.describe(),
        "objective": module.objective.describe(),
        "devices": cli.trainer.world_size,
        "batch_size": {"each": data.batch_size, "global": data.batch_size * cli.trainer.world_size},
        "precision": str(cli.trainer.precision),
        "zero_shot": _public(scores.zero_shot),
        "adapted": _public(scores.adapted),
        "evaluated": module.evaluated,
        "counts": {
            **{split: len(data.rows(split)) for split in ("train", "validation", "test")},
            "classes": len(data.class_names),
            **{f"parameters_{name}": sum(p.numel() for p in part) for name, part in counted.items()},
        },
        "seconds": {cli.subcommand: round(scores.seconds, 2), "total": round(time.perf_counter() - cli.started, 2)},
        "peak_memory_mb": round(peak_memory_mb(), 1),
        "seed": cli.config[cli.subcommand]["seed_everything"],
        "data": {"path": data.paths, "eval_path": data.eval_path, "fingerprint": data.fingerprint(), "notes": data.notes},
        "base_fingerprint": module.base_fingerprint,
        "versions": versions(),
    }
    if training:
        best: Any = next(c for c in cli.trainer.checkpoint_callbacks if getattr(c, "monitor", None))
        summary["best"] = {"monitor": best.monitor, "score": float(best.best_model_score)}
        summary["epochs"] = cli.trainer.current_epoch
        summary["images_per_second"] = round(cli.clock.images_per_second, 1)
        summary["waiting_for_data"] = round(cli.clock.waiting_share, 4)
    return summary


def _public(metrics: dict[str, float]) -> dict[str, float]:
    """Without val/score, which stands there under its own name."""
    return {name: float(value) for name, value in metrics.items() if not name.endswith("/score")}


def print_table(summary: dict[str, Any], folder: Path) -> None:
    """Print before and after, what it cost, where the run lies and what to do next."""
    console = Console()
    before, after = summary["zero_shot"], summary["adapted"]
    table = Table(title=None, show_edge=False, pad_edge=False)
    table.add_column("metric")
    if before:
        table.add_column("zero-shot", justify="right")
    if after:
        table.add_column("adapted", justify="right", style="bold")
    for name in dict.fromkeys([*before, *after]):
        if before and after and not name.startswith("test/"):
            continue
        table.add_row(name, *(f"{part[name]:.4f}" for part in (before, after) if part))
    console.print()
    console.print(table)
    counts, seconds = summary["counts"], summary["seconds"]
    lines = []
    if summary["command"] == "fit":
        share = f"{counts['parameters_learned']:,} of {counts['parameters_all']:,} parameters learned"
        lines.append(
            f"{share}; {seconds['fit']:.0f} s of training at {summary['images_per_second']:.0f} images/s, "
            f"{summary['waiting_for_data']:.0%} of it waiting for data"
        )
    lines.append(f"{seconds['total']:.0f} s in all, peak memory {summary['peak_memory_mb']:,.0f} MB")
    lines.append(f"run folder: {folder}")
    if summary["command"] == "fit":
        lines.append("")
        lines.append(f"next:  cliptune test --config {folder}/config.yaml --ckpt_path {folder}")
        lines.append(f"       python -c \"import cliptune; print(cliptune.load('{folder}').classify(['IMAGE.png']))\"")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Read a run's `summary.json`.

    Raises:
        CheckpointError: the folder is no finished run.
    """
    file = Path(folder) / "summary.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no summary.json: it is no run folder, or the run has not ended.")
    return dict(json.loads(file.read_text(encoding="utf-8")))
