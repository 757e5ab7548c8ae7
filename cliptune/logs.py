"""Lightning's CSV logger, writing `metrics.csv` into the run folder and going on with it after a resume.

A row is in the file before a checkpoint counts its step as done, and a kill at any moment leaves every row of before.
"""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from cliptune.whole import write_whole


class ResumableCSVLogger(CSVLogger):
    """Keeps the rows that an interrupted run wrote; Lightning's own deletes them.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="")
        self._last: tuple[int | None, Mapping[str, Any]] = (None, {})

    @property
    @rank_zero_experiment
    def experiment(self) -> "Rows":
        """The file's writer, made when it is first asked for."""
        if self._experiment is None:
            self._experiment = Rows(self.log_dir)
        return self._experiment  # type: ignore[return-value]

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        """Add a row; once, where `Stopping` has had it written before Lightning does."""
        if (step, metrics) != self._last:
            self._last = (step, dict(metrics))
            super().log_metrics(metrics, step)

    def keep_until(self, step: int) -> None:
        """Keep the rows of the earlier steps; those from the step that training goes on from are written anew."""
        rows = self.experiment
        rows.write(row for row in rows.read() if int(row["step"]) < step)


class Rows(ExperimentWriter):
    """Lightning's writer, which goes on with a file that is there, and changes its header in a draft beside it."""

    def __init__(self, log_dir: str) -> None:
        super().__init__(log_dir)
        self.metrics_keys = sorted({key for row in self.read() for key in row})

    def _check_log_dir_exists(self) -> None:
        """Leave what is there; Lightning deletes it."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        self.write(self.read())

    def read(self) -> list[dict[str, str]]:
        """The rows in the file, without empty cells; a last one that a kill cut off is none."""
        file = Path(self.metrics_file_path)
        text = file.read_bytes().decode() if file.is_file() else ""
        whole = io.StringIO(text[: text.rfind("\n") + 1], newline="")
        return [{key: value for key, value in row.items() if value} for row in csv.DictReader(whole)]

    def write(self, rows: Iterable[dict[str, str]]) -> None:
        """Put the rows in the place of the file's, all of them or none."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=self.metrics_keys)
        writer.writeheader()
        writer.writerows(list(rows))
        write_whole(Path(self.metrics_file_path), lambda file: file.write(text.getvalue().encode()))
