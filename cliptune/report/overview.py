"""The head of a report, what was run, what it cost, and how to run it again."""

from pathlib import Path
from typing import Any

from cliptune.page.markup import Markup, bar, el, facts, join, table, tile
from cliptune.page.numbers import duration, percent, short
from cliptune.page.pictures import Pictures
from cliptune.report.names import arguments, backbone_name, metric, short_name
from cliptune.report.reading import RunRead

LETTERS = 20_000  # of a config


def main_metric(run: RunRead) -> str:
    """The metric that stands for all: its key on the test split, or else on validation; empty where there is none."""
    known = run.part("adapted") or run.part("zero_shot")
    return next((key for split in ("test", "val") for name in first_metrics(run) if (key := f"{split}/{name}") in known), "")


def first_metrics(run: RunRead) -> tuple[str, ...]:
    """What stands for all, the first that there is: average precision only where images may have several classes, and so no likelihood."""
    known = {key.rpartition("/")[2] for state in ("zero_shot", "adapted") for key in run.part(state)}
    return ("top1", "recall", "map") if "nll" in known or "map" not in known else ("map", "top1", "recall")


def header(run: RunRead) -> list[object]:
    """Name, one sentence, and the numbers that count."""
    return [el("h1", run.name), el("p", _sentence(run), class_="lead"), _tiles(run)]


def _sentence(run: RunRead) -> str:
    objective = run.part("objective")
    parts = [f"{short_name(run.part('method'))} on {backbone_name(run.part('backbone'))}"]
    parts += [f"with {short_name(objective)}"] if objective and run.part("command") == "fit" else []
    parts += [f"on {_paths(run)}"] if _paths(run) else []
    return " ".join(parts)


def _paths(run: RunRead) -> str:
    paths = run.part("data", "path")
    return ", ".join(Path(str(path)).name or str(path) for path in ([paths] if isinstance(paths, str) else paths))


def _tiles(run: RunRead) -> Markup:
    key, made = main_metric(run), []
    if key:
        one, split = metric(key), "test" if key.startswith("test") else "validation"
        before, after, change = run.part("zero_shot").get(key), run.part("adapted").get(key), run.part("changes", key)
        both = [one.told(value) for value in (before, after) if value is not None]
        states = " \N{RIGHTWARDS ARROW} ".join(name for name, value in (("zero-shot", before), ("adapted", after)) if value is not None)
        made.append(tile(" \N{RIGHTWARDS ARROW} ".join(both), f"{split} {one.name}, {states}", "wide" if len(both) == 2 else ""))
        if before is not None and after is not None:
            level, sure = "", "change, in points" if one.unit == "share" else "change"
            if change:
                level = "good" if change["low"] > 0 else "stop" if change["high"] < 0 else "warn"
                sure = f"{sure} (95%: {one.change(change['low'])} to {one.change(change['high'])})"
            made.append(tile(one.change(after - before), sure, level))
    made += _forgotten(run)
    counts, total = run.part("counts"), run.part("seconds").get("total")
    if learned := counts.get("parameters_learned"):
        made.append(tile(short(learned), f"parameters learned, of {short(counts.get('parameters_all', 0))}"))
    if total is not None:
        memory = run.part("peak_memory_mb")
        made.append(
            tile(
                duration(total if total < 60 else 60 * round(total / 60)),
                f"in all, peak memory {megabytes(memory)}" if isinstance(memory, float) else "in all",
            )
        )
    return el("div", made, class_="tiles")


def _forgotten(run: RunRead) -> list[Markup]:
    """The guard that lost the most."""
    lost = {}
    for name, guard in run.part("guard").items():
        key, before, after = guard.get("metric"), guard.get("zero_shot", {}), guard.get("adapted", {})
        if key in before and key in after:
            lost[name] = (after[key] - before[key], guard.get("changes", {}).get(key, {}))
    if not lost:
        return []
    name = min(lost, key=lambda one: lost[one][0])
    change, sure = lost[name]
    level = "stop" if sure.get("high", change) < 0 and change < -0.02 else "warn" if sure.get("high", change) < 0 else "good"
    return [tile(metric("top1").change(change), f"on the guard {name[:40]}, in points", level)]


def megabytes(value: float) -> str:
    """Memory for people."""
    return f"{value / 1024:,.1f} GB" if value >= 1024 else f"{value:,.0f} MB"


def what_was_run(run: RunRead, pictures: Pictures) -> Markup | None:
    """The parts of the model, and how it was trained."""
    counts, batch, best = run.part("counts"), run.part("batch_size"), run.part("best")
    learned, whole = counts.get("parameters_learned"), counts.get("parameters_all")
    training = run.part("command") == "fit"
    rows: list[tuple[str, object]] = [
        ("backbone", backbone_name(run.part("backbone"))),
        ("method", _described(run.part("method"))),
        ("objective", _described(run.part("objective")) if training else None),
        ("learned", f"{learned:,} of {whole:,} parameters ({percent(learned / whole, 2)})" if learned and whole else None),
        ("batch", f"{batch['global']:,}" + _on(batch, run.part("devices")) if batch and training else None),
        ("epochs", run.part("epochs") or None),
        ("checkpoint", f"the best {best['monitor']}: {metric(best['monitor']).told(best['score'])}" if best else None),
        ("precision", run.part("precision") or None),
        ("seed", run.part("seed") if run.part("seed") != {} else None),
        ("versions", ", ".join(f"{name} {version}" for name, version in run.part("versions").items()) or None),
    ]
    return facts(rows)


def _described(part: Any) -> Markup | None:
    if not part:
        return None
    inner = arguments(part)
    return join([el("strong", short_name(part)), [" ", el("small", inner)] if inner else None])


def _on(batch: dict[str, Any], devices: Any) -> str:
    return f" ({batch['each']:,} on each of {devices} devices)" if isinstance(devices, int) and devices > 1 else ""


def data(run: RunRead, pictures: Pictures) -> Markup | None:
    """What the data is, and what was left out of it."""
    counts, known = run.part("counts"), run.part("data")
    splits = {name: counts[name] for name in ("train", "validation", "test") if counts.get(name)}
    if not splits and not known:
        return None
    most = max(splits.values(), default=1)
    left_out = [f"{count:,} of {name}" for name, count in run.part("left_out").items() if count]
    seen = run.part("evaluated").get("test") or {}
    paths = known.get("path") or []
    rows: list[tuple[str, object]] = [
        ("from", ", ".join([paths] if isinstance(paths, str) else map(str, paths)) or None),
        ("evaluated on", known.get("eval_path")),
        ("classes", f"{counts['classes']:,}" if counts.get("classes") else None),
        ("scored on test", ", ".join(f"{count:,} {what}" for what, count in seen.items() if count) or None),
        ("unreadable", f"{', '.join(left_out)}: see bad_samples.csv in the run folder" if left_out else None),
        ("few shots", run.part("few_shot") or None),
        ("fingerprint", el("code", known["fingerprint"]) if known.get("fingerprint") else None),
    ]
    bars = [[el("span", name), bar(count / most, name), el("span", f"{count:,}")] for name, count in splits.items()]
    notes = [el("li", note) for note in known.get("notes") or []]
    return join([el("div", bars, class_="rows"), facts(rows), el("ul", notes, class_="plain") if notes else None])


def cost(run: RunRead, pictures: Pictures) -> Markup | None:
    """Seconds and memory of each phase."""
    phases, seconds = run.part("phases") or [], run.part("seconds")
    if not phases and not seconds:
        return None
    longest = max((phase["seconds"] for phase in phases), default=0) or 1
    rows = [
        (
            phase["name"],
            (phase["seconds"], duration(phase["seconds"])),
            bar(phase["seconds"] / longest),
            (phase["peak_memory_mb"], megabytes(phase["peak_memory_mb"])),
        )
        for phase in phases
    ]
    told = [f"{duration(seconds['total'])} in all"] if "total" in seconds else []
    told += [f"{duration(seconds['fit'])} of training"] if "fit" in seconds else []
    told += [f"{run.part('images_per_second'):,.0f} images/s"] if run.part("images_per_second") else []
    waited = run.part("waiting_for_data")
    told += [f"{percent(waited)} of training spent waiting for data"] if isinstance(waited, float) else []
    listed = table(("phase", "time", "", "peak memory"), rows, sortable=True, numeric=(1, 3)) if rows else None
    return join([el("p", "; ".join(told) + "."), listed])


def again(run: RunRead, pictures: Pictures) -> Markup | None:
    """The command, and the config that it reads."""
    own = run.part("command_line")
    command = own if isinstance(own, str) and own else f"cliptune {run.part('command') or 'fit'} --config {run.folder}/config.yaml"
    copy = el("button", "copy", class_="copy", type="button")
    text = run.config if len(run.config) <= LETTERS else run.config[:LETTERS] + "\n# ... the rest: config.yaml in the run folder"
    whole = el("details", el("summary", "the whole config"), el("pre", el("code", text), tabindex=0)) if run.config else None
    return join(
        [el("p", copy, "The config of the run folder runs as it is.", class_="beside"), el("pre", el("code", command), tabindex=0), whole]
    )
