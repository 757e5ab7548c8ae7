"""Draw the tables of docs/benchmarks*.md from results/*.json: `python benchmarks/page.py`, after any measurement.

A table stands between `<!-- results NAME -->` and `<!-- end -->`, with that of NAME_gpu.json behind it where it is there, and what all of a
page come to between `<!-- glance -->` and that; tests/test_benchmarks_page.py holds the pages to the files.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from commands import COMMANDS

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks_parts.md", ROOT / "recipes" / "README.md")
PLACE = re.compile(r"<!-- results (\w+) -->\n.*?<!-- end -->", re.DOTALL)
GLANCE = re.compile(r"<!-- glance -->\n.*?<!-- end -->", re.DOTALL)
HEADING_OR_PLACE = re.compile(r"^## (.+)$|^<!-- results (\w+) -->$", re.MULTILINE)
OWN = ("case", "ratio", "goal", "items", "seconds")  # of a line; what else there is are notes
PROOFS = (
    "losses apart",
    "gradients apart",
    "tensors",
    "memory goal",
    "LoRA, MB beyond model",
    "other, MB beyond model",
)  # in the file alone
SHOWN = ("torch", "open_clip_torch", "lightning", "commit")


def drawn(text: str, folder: Path = RESULTS) -> str:
    """The page with its tables as the files have them."""
    text = PLACE.sub(lambda found: f"<!-- results {found[1]} -->\n{_of(found[1], folder)}\n<!-- end -->", text)
    return GLANCE.sub(lambda _: f"<!-- glance -->\n{glance(text, folder)}\n<!-- end -->", text)


def put(text: str, marks: tuple[str, str], part: str) -> str:
    """The text with that part between the two marks, of which the second may stand in other places too."""
    before, _, rest = text.partition(marks[0])
    return f"{before}{marks[0]}\n{part}\n{marks[1]}{rest.partition(marks[1])[2]}"


def _of(name: str, folder: Path) -> str:
    command = f"`{COMMANDS[name]}`" if name in COMMANDS else ""
    shown = "\n\n".join(_shown(file) for file in files_of(name, folder))
    return "\n\n".join(part for part in (shown or "Not measured yet.", command) if part)


def files_of(name: str, folder: Path) -> list[Path]:
    """The file of a result, and that of a machine with a GPU, where they are there."""
    return [file for file in (folder / f"{name}.json", folder / f"{name}_gpu.json") if file.is_file()]


def glance(text: str, folder: Path = RESULTS) -> str:
    """A row for each section with results: how many of its goals are met, and which are not."""
    rows, heading = ["| job | goals met | missed |", "|---|---|---|"], ""
    found: dict[str, list[Path]] = {}
    for title, name in HEADING_OR_PLACE.findall(text):
        heading = title or heading
        if name:
            found.setdefault(heading, []).extend(files_of(name, folder))
    for heading, files in found.items():
        several = sum(bool(goals(file)) for file in files) > 1
        each = [(f"{file.stem}: {case}" if several else case, met) for file in files for case, met in goals(file)]
        place = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())  # as MkDocs makes them
        missed = "<br>".join(case for case, met in each if not met)
        rows.append(f"| [{heading}](#{place}) | {counted(each, files)} | {missed} |")
    return "\n".join(rows)


def counted(each: list[tuple[str, bool]], files: list[Path]) -> str:
    """How many goals are met, of those that were measured, and of those that were planned where it is known."""
    if not each:
        return "no goal as a ratio" if files else "not measured"
    planned = sum(json.loads(file.read_text(encoding="utf-8")).get("planned", 0) for file in files)
    told = f"{sum(met for _, met in each)} of {len(each)}"
    return f"{told} measured cells, {len(each)} of {planned}" if planned else told


def goals(file: Path) -> list[tuple[str, bool]]:
    """The cases of a result that have a goal, and whether it is met; with what was measured where it is not."""
    found = json.loads(file.read_text(encoding="utf-8"))
    if "goals" in found:  # of a table that was made where it was measured
        return [(one["case"], one["met"]) for one in found["goals"]]
    met = []
    for line in found.get("lines", []):
        bound, word = re.fullmatch(r"(.*?) ?(met|missed)?", line["goal"]).groups()  # type: ignore[union-attr]
        if bound:
            met.append((f"{line['case']} ({line['ratio']['median']:.4g}, goal {bound})", word == "met"))
        if most := line.get("memory goal"):
            ratio = line.get("peak ratio", line.get("memory ratio"))
            met.append((f"memory: {line['case']} ({ratio:.3g}, goal <= {most:g})", ratio <= most))
    return met


def _shown(file: Path) -> str:
    found = json.loads(file.read_text(encoding="utf-8"))
    shown = [found["table"]] if "table" in found else [table(found)] if found["lines"] else []  # made where it was measured, or here
    return "\n\n".join([*shown, *found.get("absent", []), where(found)])


def table(found: Mapping[str, Any]) -> str:
    """A row for each line: both medians of seconds, the ratio with its spread, the goal, and the notes."""
    notes = list(dict.fromkeys(key for line in found["lines"] for key in line if key not in (*OWN, *PROOFS)))
    a, b = found["a"], found["b"]
    head = ["", f"{a}, s", f"{b}, s", f"time of {a} / {b}", "least to greatest", "goal", *notes]
    rows = [[*_cells(line), *(_number(line.get(key)) for key in notes)] for line in found["lines"]]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def _cells(line: Mapping[str, Any]) -> list[str]:
    seconds, ratio = line["seconds"], line["ratio"]
    spread = f"{ratio['min']:.3f} to {ratio['max']:.3f}" if len(seconds["a"]) > 1 else "one pair"
    bound, met = re.fullmatch(r"(.*?) ?(met|missed)?", line["goal"]).groups()  # type: ignore[union-attr]
    goal = f"{bound}, {'**missed**' if met == 'missed' else met}" if met else bound
    return [line["case"], _number(median(seconds["a"])), _number(median(seconds["b"])), f"{ratio['median']:.3f}", spread, goal]


def _number(value: float | None) -> str:
    """Three digits, and all before the point."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def where(found: Mapping[str, Any]) -> str:
    """The machine, the versions, the commit and the day, as far as the file has them."""
    machine, versions = found["machine"], found["versions"]
    device = f"{machine['threads']} of {machine['cores']} cores, {machine['cpu']} with {machine['capability']}, load {machine['load']:g}"
    device += f", {machine['gpu']}" if "gpu" in machine else ""
    packages = ", ".join(f"{name} {versions[name]}" for name in SHOWN if name in versions)
    day = found["date"].partition(" ")[0] if "date" in found else "day not written down"
    return f"*{device}; {packages}; {day}.*"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(drawn(page.read_text(encoding="utf-8")), encoding="utf-8")
