"""The proof of an export: the other library reads it in a fresh process, and what it says is compared with what the model says."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors.torch import load_file
from torch import Tensor

from cliptune.errors import ExportError
from cliptune.export.base import Format
from cliptune.export.samples import Samples

READERS = Path(__file__).parent / "readers"
NAMES = {
    "image_rows": "image rows",
    "text_rows": "text rows",
    "logits": "logits",
    "own_image_rows": "image rows, its own preprocessing",
    "plain_image_rows": "image rows, as a plain pretrained file",
    "loaded_image_rows": "image rows, by cliptune.load",
    "similarity": "logits of images and texts",
}


class Proof(NamedTuple):
    """What the comparison found."""

    differences: dict[str, float]  # the largest, by what was compared
    allowed: dict[str, float]
    agreement: float  # share of the samples for which both choose the same
    before: float | None  # accuracy of the model on the samples; None where the samples have no answers
    after: float | None  # and of the export
    source: str  # of the samples
    facts: dict[str, Any]  # that the reader tells: versions, speed

    @property
    def holds(self) -> bool:
        """Whether all differences are allowed."""
        return all(value <= self.allowed[key] for key, value in self.differences.items())  # not-a-number is not

    def lines(self) -> list[str]:
        """For the terminal and the card."""
        width = max(len(NAMES[key]) for key in self.differences)
        found = [f"{'compared':<{width}}  largest difference  allowed"]
        found += [f"{NAMES[key]:<{width}}  {value:<18.1e}  {self.allowed[key]:.1e}" for key, value in self.differences.items()]
        same = f"the same choice for {self.agreement:.1%} of {self.source}"
        if self.before is not None and self.after is not None:
            same += f"; accuracy {self.before:.4f} before, {self.after:.4f} after ({self.after - self.before:+.4f})"
        return [*found, same]


def prove(kind: Format, folder: Path, samples: Samples, expected: dict[str, Tensor], pixels: Path, allowed: dict[str, float]) -> Proof:
    """Compare.

    Args:
        kind: the format.
        folder: what was written.
        samples: the images and texts.
        expected: what the model says of them.
        pixels: a folder of the samples, as `Samples.write` leaves it.
        allowed: the largest differences.

    Raises:
        ExportError: the other library cannot read it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found, facts = read(kind.name, [(folder, pixels, Path(scratch))])[0]
    return compare(samples, expected, found, facts, allowed)


def compare(
    samples: Samples, expected: dict[str, Tensor], found: dict[str, Tensor], facts: dict[str, Any], allowed: dict[str, float]
) -> Proof:
    """Compare what the other library says with what the model says."""
    by_logits = "logits" in found
    if by_logits:
        found["logits"] = found["logits"][:, samples.classes]
    wanted = {**expected, **{f"{kind}_image_rows": expected["image_rows"] for kind in ("own", "plain", "loaded")}}
    differences = {key: float((value.float() - wanted[key]).abs().max()) for key, value in found.items()}
    ours, theirs = samples.chosen(expected, by_logits), samples.chosen({**expected, **found}, by_logits)
    agreement = float((ours == theirs).float().mean())
    return Proof(differences, allowed, agreement, samples.accuracy(ours), samples.accuracy(theirs), samples.source, facts)


def read(name: str, jobs: Sequence[tuple[Path, Path, Path]]) -> list[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Let the other library read exports, in one fresh process.

    Args:
        name: of the format.
        jobs: for each the export's folder, the samples', and an empty one for what is found.

    Returns:
        For each what it says, by what is compared, and facts.

    Raises:
        ExportError: it cannot.
    """
    words = [str(path.resolve()) for job in jobs for path in job]
    ran = subprocess.run([sys.executable, "-I", str(READERS / f"read_{name}.py"), *words], capture_output=True, text=True)
    if ran.returncode:
        last = ran.stderr.strip().splitlines()[-1:] or [f"status {ran.returncode}"]
        raise ExportError(f"what was written cannot be read back as {name}: {last[0]}. Nothing is left of it; please report this.")
    found = []
    for _, _, out in jobs:
        facts = json.loads((out / "facts.json").read_text(encoding="utf-8"))
        found.append((load_file(out / "found.safetensors"), facts))
    return found
