"""Tars of WebDataset, made of what their members hold; and small pictures to put into them."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def png(colour: int, size: int = 8) -> bytes:
    """A picture of one grey."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((size, size, 3), colour % 256, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def write_tar(file: Path, samples: dict[str, dict[str, Any]], mode: str = "w") -> Path:
    """Write samples, by name, of members by suffix: bytes as they are, text as UTF-8, anything else as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, mode) as opened:  # type: ignore[call-overload]
        for key, members in samples.items():
            for suffix, held in members.items():
                data = (
                    held if isinstance(held, bytes) else (held if isinstance(held, str) else json.dumps(held, ensure_ascii=False)).encode()
                )
                entry = tarfile.TarInfo(f"{key}.{suffix}")
                entry.size = len(data)
                opened.addfile(entry, io.BytesIO(data))
    return file


def write_shards(folder: Path, sizes: list[int], split: str = "train") -> list[Path]:
    """Write tars of so many samples each, the captions of which count through."""
    starts = np.cumsum([0, *sizes])[:-1].tolist()
    return [
        write_tar(
            folder / f"{split}-{i:04d}.tar",
            {f"{start + j:06d}": {"png": png(start + j), "txt": f"caption {start + j}"} for j in range(size)},
        )
        for i, (start, size) in enumerate(zip(starts, sizes, strict=True))
    ]
