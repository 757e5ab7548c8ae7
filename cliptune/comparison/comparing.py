"""The comparison: run folders in, rows in their order out, with what is best and what may be chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cliptune.comparison.by_class import ByClass, by_class
from cliptune.comparison.entries import Entry, entries_of
from cliptune.comparison.folders import find_runs
from cliptune.comparison.names import beside, choose
from cliptune.comparison.pairing import Against, Paired, best_first, pair


@dataclass(frozen=True)
class Comparison:
    """What is shown.

    Args:
        metric: that rows are compared on.
        beside: metrics that are shown with it.
        rows: best first; those that were tested on other data, or have no such metric, last.
        best: of those of the same test data; None where none has the metric.
        comparable: the rows of the best's test data.
        paired: those that answered the same images.
        classes: likewise, class by class.
        notes: what is to be said of what could not be compared.
        home: the folder in which the first run lies.
    """

    metric: str
    beside: list[str]
    rows: list[Entry]
    best: Entry | None
    comparable: list[Entry]
    paired: Paired | None
    classes: ByClass | None
    notes: list[str]
    home: Path

    def against(self, row: Entry) -> Against | None:
        """What the paired test says of a row; None where it is the reference itself, or was not paired."""
        return self.paired.against.get(row.name) if self.paired is not None else None

    def as_good(self) -> list[Entry]:
        """The rows that differ from the reference by no more than chance."""
        told = [(row, self.against(row)) for row in self.rows]
        return [row for row, one in told if one is not None and one.p is not None and not one.differs]


def compare(named: Sequence[Path], metric: str | None = None) -> Comparison:
    """Compare runs.

    Args:
        named: run folders, or folders of such.
        metric: to compare them on; the main one where not given.

    Raises:
        CheckpointError: a folder is no run that has ended.
        ConfigError: it is one run only, or none has the metric.
    """
    found, notes = find_runs(named)
    entries = entries_of(found)
    chosen = choose(metric, [entry.metrics for entry in entries])
    comparable = best_first(_largest(entries, chosen), chosen)
    others = best_first([entry for entry in entries if entry not in comparable], chosen)
    paired, more = pair(comparable, chosen)
    best = comparable[0] if comparable and chosen in comparable[0].metrics else None
    if elsewhere := [entry.name for entry in others if chosen in entry.metrics and entry.kind != "zero-shot"]:
        more.insert(0, f"not compared with the others, since their test data is another: {', '.join(elsewhere)}")
    if lacking := [entry.name for entry in entries if chosen not in entry.metrics]:
        more.append(f"without {chosen}: {', '.join(lacking)}")
    known = [name for entry in entries for name in entry.metrics]
    classes = by_class(paired) if paired is not None else None
    return Comparison(
        chosen, beside(chosen, known), [*comparable, *others], best, comparable, paired, classes, notes + more, found[0].folder.parent
    )


def _largest(entries: Sequence[Entry], metric: str) -> list[Entry]:
    """The rows of the test data that most of them share, those with the metric counting."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.test_data, []).append(entry)
    return max(groups.values(), key=lambda group: sum(metric in entry.metrics for entry in group if entry.kind != "zero-shot"))
