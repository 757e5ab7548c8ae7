"""Files of rows, and what a source makes of them; shared by the tests of `data.sources`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.feather
from datasets import Dataset

from cliptune.data.formats.sources import open_source

Picture = Callable[[str], Path]
ROWS = [{"image": f"{i}.png", "caption": f"고양이 {i}, 잔다"} for i in range(3)]


def write(file: Path, rows: list[dict[str, Any]], encoding: str = "utf-8", separator: str | None = None) -> Path:
    """Write rows in the format that the file's suffix names."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kind = file.suffix.lower()
    table = Dataset.from_list(rows)
    if kind == ".parquet":
        table.to_parquet(file)
    elif kind == ".arrow":
        with pyarrow.ipc.new_stream(str(file), table.data.table.schema) as stream:
            stream.write_table(table.data.table)
    elif kind in (".csv", ".tsv"):
        table.to_pandas().to_csv(file, sep=separator or ("\t" if kind == ".tsv" else ","), index=False, encoding=encoding)
    else:
        text = json.dumps(rows, indent=1) if kind == ".json" else "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        file.write_text(text, encoding=encoding)
    return file


def texts(path: str | Path) -> dict[str, list[str]]:
    """The captions of a source by split."""
    return {split: list(table["caption"]) for split, table in open_source(str(path)).tables.items()}
