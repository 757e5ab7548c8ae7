"""The model card that goes with every export: what it is, where it is from, how good it is, what was forgotten, how to load it.

In the Hugging Face hub's form: facts for programs in the front matter, prose for people behind it.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import cliptune
from cliptune.adapted import AdaptedCLIP
from cliptune.export.base import Format
from cliptune.export.intervals import wilson
from cliptune.export.licences import UNKNOWN, licence_of
from cliptune.export.proof import Proof

CLASSES_SHOWN = 20


@dataclass
class Facts:
    """What a card tells, as plain data; `export.json` holds the same."""

    name: str
    format: str
    precision: str
    share: float  # of what was learned
    zero_shot: dict[str, float]  # test metrics; empty where not known
    adapted: dict[str, float]
    evaluated: dict[str, int]  # images and texts that these are of; empty where not known
    run: dict[str, Any]  # the run's summary, or empty
    moved: dict[str, float]  # mean cosine of rows with those of before, by images and texts
    guard: dict[str, Any] = field(default_factory=dict)  # path, before, after, evaluated, of other data
    curve: list[tuple[float, float, float | None]] = field(default_factory=list)  # share, validation, guard
    notes: list[str] = field(default_factory=list)


def write_card(folder: Path, model: AdaptedCLIP, kind: Format, facts: Facts, proof: Proof, place: str) -> None:
    """Write `README.md`.

    Args:
        folder: of the export.
        model: as exported.
        kind: its format.
        facts: to tell.
        proof: that it holds.
        place: what the export's folder is called in the lines that load it.
    """
    arguments = model.about["backbone"]["arguments"]
    licence, source = licence_of(arguments["name"], arguments["pretrained"])
    parts = [
        _front(kind, model, licence),
        f"# {facts.name}\n\n{_what(model, facts)}",
        f"## Use\n\n```python\n{kind.usage(model, place)}\n```\n\n{_input(model)}",
        f"## Metrics\n\n{_metrics(facts)}",
        f"## What was forgotten\n\n{_forgotten(facts)}",
        f"## Made of\n\n{_made_of(model, facts, licence, source)}",
        f"## Intended use\n\n{_intended(model)}",
        f"## Proof\n\nRead back by {_reader(proof)} in a process of its own:\n\n```\n" + "\n".join(proof.lines()) + "\n```",
    ]
    (folder / "README.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _front(kind: Format, model: AdaptedCLIP, licence: str) -> str:
    library = {"open_clip": "open_clip", "transformers": "transformers", "peft": "peft"}.get(kind.name)
    known = licence if " " not in licence and licence != UNKNOWN else "other"
    facts: dict[str, Any] = {"license": known, "pipeline_tag": "zero-shot-image-classification", "tags": ["clip", "cliptune"]}
    if library:
        facts["library_name"] = library
    return f"---\n{yaml.safe_dump(facts, sort_keys=False)}---"


def _what(model: AdaptedCLIP, facts: Facts) -> str:
    method, base = model.about["method"]["class"].rpartition(".")[2], _base(model)
    data = facts.run.get("data", {}).get("path")
    on = f" to {', '.join(_short(path) for path in data)}" if data else ""
    if not facts.run and not model.class_names:
        text = f"{base}, a CLIP, as `{facts.format}`."
    else:
        text = f"{base}, a CLIP, adapted{on} by {method} with [cliptune](https://pypi.org/project/cliptune) {cliptune.__version__}."
    if facts.share != 1:
        text += f" Of what was learned a share of {facts.share:g} counts, the rest is zero-shot (WiSE-FT, Wortsman et al. 2022)."
    if model.class_names:
        shown = ", ".join(model.class_names[:CLASSES_SHOWN])
        more = f", ... ({len(model.class_names):,} in all)" if len(model.class_names) > CLASSES_SHOWN else ""
        text += f"\n\nClasses: {shown}{more}."
    return text


def _input(model: AdaptedCLIP) -> str:
    known, (height, width) = model.backbone.preprocess.config, model.backbone.preprocess.size
    mean, std = ([round(float(value), 4) for value in known[key]] for key in ("mean", "std"))
    how = {"shortest": "shorter side resized, then cropped in the centre", "squash": "squashed", "longest": "longer side resized, padded"}
    way = how[known.get("resize_mode", "shortest")]
    return f"Images: {height} x {width} RGB, {way} ({known.get('interpolation', 'bicubic')}), mean {mean}, std {std}."


def _metrics(facts: Facts) -> str:
    if not facts.zero_shot and not facts.adapted:
        return "None are known: " + (" ".join(facts.notes) or "this model is no run's.")
    lines = ["| test metric | zero-shot | this model |", "|---|---|---|"]
    for name in dict.fromkeys([*facts.zero_shot, *facts.adapted]):
        cells = [_with_interval(part.get(name), name, facts.evaluated) for part in (facts.zero_shot, facts.adapted)]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    images, texts = facts.evaluated.get("images"), facts.evaluated.get("texts")
    of = f"On {images:,} images" + (f" and {texts:,} texts" if texts else "") + "; " if images else ""
    text = "\n".join(lines) + f"\n\n{of}95 % intervals (Wilson) of independent images; the model was picked on validation, not on these."
    if facts.curve:
        text += "\n\n![Score over the share of what was learned](blend.png)"
    return "\n".join([text, *(f"\n{note}" for note in facts.notes)])


def _with_interval(value: float | None, name: str, evaluated: dict[str, int]) -> str:
    if value is None:
        return "not measured"
    count = evaluated.get("texts" if name.endswith("text_to_image") else "images", 0)
    if not count or not name.rpartition("/")[2].startswith(("top", "recall@")):  # others are no shares of answers
        return f"{value:.4f}"
    low, high = wilson(value, count)
    return f"{value:.4f} ({low:.3f} to {high:.3f})"


def _forgotten(facts: Facts) -> str:
    lines = []
    if facts.guard:
        rows = [
            f"| {name} | {_with_interval(facts.guard['before'][name], name, facts.guard['evaluated'])} | "
            f"{_with_interval(facts.guard['after'].get(name), name, facts.guard['evaluated'])} |"
            for name in facts.guard["before"]
        ]
        head = [f"| metric on {_short(facts.guard['path'])} | zero-shot | this model |", "|---|---|---|"]
        lines += ["\n".join([*head, *rows])]
    else:
        lines.append("Not measured on other data (`cliptune export --guard DATA` does).")
    if facts.moved:
        told = ", ".join(f"{value:.3f} of {name}" for name, value in facts.moved.items())
        lines.append(f"Mean cosine of its rows with those of the untouched CLIP, on the samples of the proof: {told} (1 is unmoved).")
    return "\n\n".join(lines)


def _made_of(model: AdaptedCLIP, facts: Facts, licence: str, source: str) -> str:
    rows = {
        "base": _base(model),
        "fingerprint of the base's weights": f"`{model.about['base_fingerprint']}`",
        "licence of the base": f"{licence} ({source})",
        "activation": model.about["activation"],
        "method": _described(model.about["method"]),
        "objective": _described(model.about["objective"]) if model.about.get("objective") else "none",
    }
    if model.about.get("templates"):
        rows["templates"] = ", ".join(f"`{template}`" for template in model.about["templates"][:5])
        rows["templates"] += f" and {len(model.about['templates']) - 5} more" * (len(model.about["templates"]) > 5)
    elif len(set(counts := [len(texts) for texts in model.class_texts])) > 1:
        rows["texts of classes"] = f"descriptions of each, {min(counts)} to {max(counts)}"
    data = facts.run.get("data")
    if data:
        counts = facts.run["counts"]
        rows["data"] = f"{', '.join(_short(path) for path in data['path'])}, fingerprint `{data['fingerprint']}`"
        rows["images"] = ", ".join(f"{counts[split]:,} {split}" for split in ("train", "validation", "test"))
        rows["training"] = f"epochs {facts.run.get('epochs', '?')}, seed {facts.run['seed']}, {facts.run['seconds'].get('fit', '?')} s"
    return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])


def _intended(model: AdaptedCLIP) -> str:
    words = "classification by the words above and by others, and retrieval" if model.class_names else "retrieval, classification by words"
    return (
        f"For {words}, on images like those it was adapted to, and research on them. Not for decisions about people without a study of "
        "errors on the very population: CLIPs carry the biases of their web data (Radford et al. 2021, sec. 7), and adaptation does not "
        "take them away. The licences of the base and of the data bind whoever uses this model."
    )


def _reader(proof: Proof) -> str:
    return ", ".join(f"{name} {proof.facts[name]}" for name in proof.facts if name.replace("_", "") in LIBRARIES)


LIBRARIES = {"openclip", "transformers", "onnxruntime", "peft", "torch", "safetensors"}


def _base(model: AdaptedCLIP) -> str:
    arguments = model.about["backbone"]["arguments"]
    return " ".join(_short(arguments[key]) for key in ("name", "pretrained") if arguments[key])


def _short(path: str) -> str:
    """A name without the folders of the machine that it lies on."""
    return Path(path.removeprefix("local-dir:")).name if "/" in path and not path.startswith("hf-hub:") else path


def _described(part: dict[str, Any]) -> str:
    plain = {key: value for key, value in part["arguments"].items() if value is not None and not isinstance(value, (dict, list))}
    given = ", ".join(f"{key} {value}" for key, value in plain.items())
    return f"{part['class'].rpartition('.')[2]}" + (f" ({given})" if given else "")
