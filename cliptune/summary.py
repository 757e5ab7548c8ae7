"""What a run ends with: `summary.json`, the answers that its metrics come from, the pictures, the report, and the table."""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cliptune.changes import uncertain
from cliptune.checkpoint import read, rebuild
from cliptune.errors import CheckpointError
from cliptune.outcomes import FOLDER, write_answers
from cliptune.report.collect import collect_examples
from cliptune.run import versions
from cliptune.scores import NOTHING, Scores
from cliptune.tables import print_table

if TYPE_CHECKING:
    from cliptune.cli import AdaptCLI


def conclude(cli: AdaptCLI, scores: Scores, checkpoint: Path | None) -> None:
    """Write the summary and the answers, draw the pictures, write the report, print what was learned and the table.

    Args:
        cli: at its end.
        scores: to tell.
        checkpoint: that was scored; a sharded model is read from it again, since no process has it whole.
    """
    module, run = cli.model, cli.run
    whole = (module.backbone, module.method) if not module.sharded else rebuild(read(checkpoint)) if checkpoint else None
    with cli.phases.of("intervals"):
        found = uncertain(scores, module.guards.results(), cli.evaluation.resamples, cli.config[cli.subcommand]["seed_everything"])
        for name, state in scores.states.items():
            if state.test is not NOTHING:
                write_answers(run.folder / FOLDER / f"{name}.safetensors", state.test)
    with cli.phases.of("pictures"):
        if run.pictures:
            draw(cli, whole, scores.curve)
    if scores.curve is not None:
        found["curve"] = scores.curve
    after = scores.adapted.test if scores.adapted.test is not NOTHING else scores.zero_shot.test
    with cli.phases.of("examples"):
        collect_examples(run.folder, cli.datamodule, scores.zero_shot.test, after)
    facts = whole[1].facts(whole[0], scores.start) if cli.subcommand == "fit" and whole is not None else {}
    if facts:
        found["learned"] = facts
    summary = summarise(cli, scores, found)
    run.write_summary(summary)
    if run.report and cli.subcommand == "fit":
        from cliptune.report.writing import write_report  # at the end: no step waits for it

        write_report(run.folder)
    if facts and whole is not None and (lines := whole[1].as_lines(facts)):
        print("\n".join(lines))
    print_table(summary, run.folder)


def draw(cli: AdaptCLI, whole: tuple[Any, Any] | None, curve: dict[str, Any] | None) -> None:
    """The run folder's pictures."""
    from cliptune.pictures import draw_blends, draw_curves, draw_examples

    if cli.subcommand == "fit":
        draw_curves(cli.run.folder)
    if curve is not None:
        series = {
            f"validation, {curve['monitor']}": curve["validation"],
            **{f"guard, {name}": one for name, one in curve["guards"].items()},
        }
        draw_blends(curve["shares"], series, {"chosen": curve["chosen"]}, cli.run.folder / "curve.png")
    if whole is not None and not cli.datamodule.vectors:
        draw_examples(cli.run.folder, *whole, cli.model.classes, cli.datamodule)


def summarise(cli: AdaptCLI, scores: Scores, found: dict[str, Any]) -> dict[str, Any]:
    """Everything that a reader, or a later program, needs to know of the run, as plain data.

    Args:
        cli: at its end.
        scores: what was measured.
        found: what follows from that, see `uncertain`.
    """
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
        "zero_shot": _public(scores.zero_shot.metrics),
        "adapted": _public(scores.adapted.metrics),
        **found,
        "monitor": cli.watch.monitor,
        "evaluated": module.evaluated,
        "left_out": cli.unreadable.left_out,
        "counts": {
            **data.counts,
            "classes": len(data.class_names),
            **{f"parameters_{name}": sum(p.numel() for p in part) for name, part in counted.items()},
        },
        "seconds": {cli.subcommand: round(scores.seconds, 2), "total": round(time.perf_counter() - cli.started, 2)},
        "peak_memory_mb": round(cli.phases.peak_memory_mb, 1),
        "phases": cli.phases.told,
        "command_line": f"cliptune {cli.subcommand} --config {cli.run.folder}/config.yaml",
        "seed": cli.config[cli.subcommand]["seed_everything"],
        "class_names": data.class_names,
        "data": {
            "path": data.paths,
            "eval_path": data.eval_path,
            "fingerprint": data.fingerprint(),
            "test_fingerprint": data.fingerprint("test"),
            "notes": data.notes,
        },
        "base_fingerprint": module.base_fingerprint,
        "versions": versions(),
    }
    if (chosen := getattr(data, "chosen", None)) is not None:
        summary["few_shot"] = chosen.digest
    if training:
        summary["best"] = {"monitor": cli.watch.monitor, "score": scores.best}
        summary["epochs"] = cli.trainer.current_epoch
        summary["images_per_second"] = round(cli.clock.images_per_second, 1)
        summary["waiting_for_data"] = round(cli.clock.waiting_share, 4)
    return summary


def _public(metrics: dict[str, float]) -> dict[str, float]:
    """Without val/score, which stands there under its own name, and without guards, which have a place of their own."""
    return {
        name: float(value)
        for name, value in metrics.items()
        if not name.endswith(("/score", "/balanced")) and not name.startswith("guard/")
    }


def spreads(found: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The runs by seed; and over them, for each test metric, zero-shot and adapted, mean and spread.

    Args:
        found: by seed, `zero_shot` and `adapted`, metrics by name.

    Returns:
        Plain data. `std` is the sample standard deviation (n - 1), and null for one seed.
    """
    told: dict[str, Any] = {"runs": {str(seed): run for seed, run in found.items()}}
    for part in ("zero_shot", "adapted"):
        names = dict.fromkeys(name for run in found.values() for name in run[part])
        told[part] = {name: _spread([run[part][name] for run in found.values() if name in run[part]]) for name in names}
    return told


def _spread(values: list[float]) -> dict[str, Any]:
    std = statistics.stdev(values) if len(values) > 1 else None
    return {"n": len(values), "mean": statistics.fmean(values), "std": std, "min": min(values), "max": max(values), "values": values}


def read_summary(folder: str | Path) -> dict[str, Any]:
    """Read a run's `summary.json`.

    Raises:
        CheckpointError: the folder is no finished run.
    """
    file = Path(folder) / "summary.json"
    if not file.is_file():
        raise CheckpointError(f"{folder} has no summary.json: it is no run folder, or the run has not ended.")
    return dict(json.loads(file.read_text(encoding="utf-8")))
