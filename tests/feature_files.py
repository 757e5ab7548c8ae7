"""Files of vectors, and data over them; shared by the tests of `data.features`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from cliptune.data.images import ImageTextData
from cliptune.preprocess import Preprocess

CALTECH = Path(__file__).parents[2] / "shared" / "data" / "clip_features" / "caltech101_vitb32.npz"
NAMES = ["ant", "bee", "cat"]


def arrays(seed: int = 0, counts: tuple[int, ...] = (12, 6, 5), width: int = 4) -> dict[str, np.ndarray]:
    """Three splits of rows of no particular length, and the names of the classes."""
    rng = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {"classnames": np.array(NAMES)}
    for split, count in zip(("train", "val", "test"), counts, strict=True):
        found[f"{split}_features"] = rng.normal(size=(count, width)).astype(np.float16)
        found[f"{split}_labels"] = (np.arange(count) % 3).astype(np.int16)
    return found


def npz(folder: Path, content: dict[str, Any]) -> Path:
    np.savez(folder / "rows.npz", **content)
    return folder / "rows.npz"


def safetensors(folder: Path, content: dict[str, Any]) -> Path:
    names = content.get("classnames")
    told = {} if names is None else {"classnames": json.dumps(names.tolist())}
    save_file({key: torch.from_numpy(value) for key, value in content.items() if key != "classnames"}, folder / "rows.safetensors", told)
    return folder / "rows.safetensors"


def parquet(folder: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), folder / "rows.parquet")
    return folder / "rows.parquet"


def opened(path: Path | list[str], **options: Any) -> ImageTextData:
    preprocess = Preprocess({"size": 16}, open_clip.get_tokenizer("ViT-B-32"), trim=True)
    data = ImageTextData(
        path if isinstance(path, list) else str(path), batch_size=4, workers=0, needs="classes", preprocess=preprocess, **options
    )
    data.setup()
    return data


def whole(loader: Any) -> dict[str, torch.Tensor]:
    """All batches of an epoch as one, by the rows' order."""
    batches = list(loader)
    joined = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    order = joined["row"].argsort()
    return {key: value[order] for key, value in joined.items()}


def unit(values: np.ndarray) -> np.ndarray:
    wide = values.astype(np.float64)
    return wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
