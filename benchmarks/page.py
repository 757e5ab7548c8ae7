"""Draw the tables of docs/benchmarks*.md from results/*.json: `python benchmarks/page.py`, after any measurement.

A table stands between `<!-- results NAME -->` and `<!-- end -->`, and what all of a page come to between `<!-- glance -->` and that;
tests/test_benchmarks_page.py holds the pages to the files.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks_parts.md")
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
SHOWN = ("torch", "open_clip_torch", "lightning")


def drawn(text: str, folder: Path = RESULTS) -> str:
    """The page with its tables as the files have them."""
    text = PLACE.sub(lambda found: f"<!-- results {found[1]} -->\n{_of(folder / f'{found[1]}.json')}\n<!-- end -->", text)
    return GLANCE.sub(lambda _: f"<!-- glance -->\n{glance(text, folder)}\n<!-- end -->", text)


def glance(text: str, folder: Path = RESULTS) -> str:
    """A row for each section: how many of its goals are met, and which are not."""
    rows, heading = ["| job | goals met | missed |", "|---|---|---|"], ""
    found: dict[str, dict[str, list[tuple[str, bool]]]] = {}
    for title, name in HEADING_OR_PLACE.findall(text):
        heading = title or heading
        found.setdefault(heading, {}).update({name: goals(folder / f"{name}.json")} if name else {})
    for heading, files in found.items():
        each = [(f"{name}: {case}" if len(files) > 1 else case, met) for name, cases in files.items() for case, met in cases]
        place = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())  # as MkDocs makes them
        missed = "<br>".join(case for case, met in each if not met)
        rows.append(f"| [{heading}](#{place}) | {f'{sum(met for _, met in each)} of {len(each)}' if each else 'not measured'} | {missed} |")
    return "\n".join(rows)


def goals(file: Path) -> list[tuple[str, bool]]:
    """The cases of a result that have a goal, and whether it is met; with what was measured where it is not."""
    if not file.is_file():
        return []
    found = json.loads(file.read_text(encoding="utf-8"))
    met = [(one["case"], one["met"]) for one in found.get("goals", [])]  # of a table that was made where it was measured
    for line in found.get("lines", []):
        bound, word = re.fullmatch(r"(.*?) ?(met|missed)?", line["goal"]).groups()  # type: ignore[union-attr]
        if bound:
            met.append((f"{line['case']} ({line['ratio']['median']:.4g}, goal {bound})", word == "met"))
        if most := line.get("memory goal"):
            ratio = line.get("peak ratio", line.get("memory ratio"))
            met.append((f"memory: {line['case']} ({ratio:.3g}, goal <= {most:g})", ratio <= most))
    return met


def _of(file: Path) -> str:
    if not file.is_file():
        return "Not measured yet."
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
    """The machine, the versions and the day."""
    machine, versions = found["machine"], found["versions"]
    device = f"{machine['threads']} of {machine['cores']} cores, {machine['cpu']} with {machine['capability']}, load {machine['load']:g}"
    packages = ", ".join(f"{name} {versions[name]}" for name in SHOWN)
    return f"*{machine.get('gpu') or device}; {packages}; {found['date'].partition(' ')[0]}.*"


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(drawn(page.read_text(encoding="utf-8")), encoding="utf-8")
