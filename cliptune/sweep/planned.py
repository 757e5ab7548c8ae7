"""A run that a command means to have: found again by its config, ended or begun, so that nothing is run twice."""

import re
from glob import escape
from pathlib import Path
from typing import NamedTuple


class Planned(NamedTuple):
    """A run.

    Args:
        name: of its folder; a number may have been put behind it.
        root: where run folders lie.
        config: resolved, as the run writes it into its folder.
    """

    name: str
    root: Path
    config: str

    def folder(self) -> tuple[Path | None, bool]:
        """The newest run folder with this config, an ended one or else one to go on with, and whether it has ended."""
        pattern = re.compile(re.escape(self.name) + r"(-\d+)?")
        found = [folder for folder in self.root.glob(f"{escape(self.name)}*") if pattern.fullmatch(folder.name) and self._is_ours(folder)]
        ended = [folder for folder in found if (folder / "summary.json").is_file()]
        begun = [folder for folder in found if (folder / "checkpoints" / "last.ckpt").is_file()]
        newest = max(ended or begun, key=lambda folder: folder.stat().st_mtime_ns, default=None)
        return newest, bool(ended)

    def _is_ours(self, folder: Path) -> bool:
        file = folder / "config.yaml"
        return file.is_file() and file.read_text(encoding="utf-8") == self.config
