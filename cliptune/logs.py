"""Lightning's CSV logger, writing `metrics.csv` into the run folder and going on with it after a resume."""

import csv
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger


class ResumableCSVLogger(CSVLogger):
    """Keeps the rows that an interrupted run wrote; Lightning's own deletes them.

    Args:
        folder: the run folder.
        writes: whether this process is the one that does.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        super().__init__(folder, name="", version="")
        file = folder / "metrics.csv"
        self._earlier: list[dict[str, str]] = []
        if writes and file.is_file():
            with file.open(encoding="utf-8", newline="") as handle:
                self._earlier = list(csv.DictReader(handle))
            file.unlink()

    def keep_until(self, step: int) -> None:
        """Write the rows of the earlier steps again; those from the step that training goes on from are written anew."""
        rows = [{key: value for key, value in row.items() if value} for row in self._earlier if int(row["step"]) < step]
        self.experiment.metrics = [*rows, *self.experiment.metrics]
        self._earlier = []
        self.save()
