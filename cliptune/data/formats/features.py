"""Vectors instead of images: what an image tower gave before, from npz and safetensors files, and from columns of float lists.

A file holds `X_features` [N, D] and `X_labels` [N] for each split X, or plain `features` and `labels`, and may hold `classnames`.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, DatasetDict, Features, Sequence, Value

from cliptune.errors import DataError

SUFFIXES = (".npz", ".safetensors")
FEATURES, LABELS = "features", "labels"
CLASS_NAMES = ("classnames", "class_names")
COLUMNS = ("image", "image_features", "image_embedding", "image_embeddings", "features", "embedding", "embeddings")
PART = 65536  # rows checked at a time


def open_features(file: Path) -> DatasetDict:
    """Read a file of vectors as tables with the columns `image` and `label`.

    Args:
        file: npz or safetensors. Labels are whole numbers, -1 for not known, or words; the names of the numbers stand in the array
            `classnames` of an npz file, or in that key of a safetensors file's metadata as a JSON list.

    Returns:
        A table for each split; that of plain `features` is `train`.

    Raises:
        DataError: the file cannot be read without running code, or its arrays do not fit one another.
    """
    arrays = _npz(file) if file.suffix.lower() == ".npz" else _safetensors(file)
    names = _class_names(file, arrays)
    keys = [key for key in arrays if _is_part(key, FEATURES)]
    lone = [key for key in arrays if _is_part(key, LABELS) and _other(key, LABELS, FEATURES) not in arrays]
    if lone:
        raise DataError(f"data path {file} has {lone[0]} and no {_other(lone[0], LABELS, FEATURES)}. Save both, or neither.")
    if not keys:
        raise DataError(f"data path {file} holds no features. Name its arrays features and labels, or train_features, train_labels, ...")
    found: dict[str, Dataset] = {}
    for key in keys:
        split = key.removesuffix(FEATURES).rstrip("_") or "train"
        if split in found:
            raise DataError(f"data path {file} holds both features and train_features. Leave one out.")
        found[split] = _table(file, arrays, key, names)
    return DatasetDict(found)


def _is_part(key: str, what: str) -> bool:
    return key == what or key.endswith(f"_{what}")


def _other(key: str, what: str, other: str) -> str:
    return key.removesuffix(what) + other


def _is_wanted(key: str) -> bool:
    return key in CLASS_NAMES or _is_part(key, FEATURES) or _is_part(key, LABELS)


def _npz(file: Path) -> dict[str, np.ndarray]:
    """The arrays that are wanted; others, which may be objects, are not touched."""
    key = ""
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as opened:  # never pickles: they run code
            found = {}
            for key in filter(_is_wanted, opened.files):
                found[key] = opened[key]
            return found
    except (ValueError, TypeError, AttributeError, EOFError, OSError, zipfile.BadZipFile) as error:
        if key and "Object arrays" in str(error):
            raise DataError(
                f"data path {file}: {key} holds Python objects, which could run code when they are read. Save plain numbers and text."
            ) from None
        raise DataError(f"data path {file} is no npz file, or it is damaged. Write it by numpy.savez.") from None


def _safetensors(file: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as opened:  # numpy has no bfloat16
            tensors = {key: opened.get_tensor(key) for key in opened.keys() if _is_wanted(key)}  # noqa: SIM118 - no mapping
            told = opened.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"data path {file} is no safetensors file, or it is damaged: {str(error).splitlines()[0]}.") from None
    found = {key: (value.float() if value.is_floating_point() else value).numpy() for key, value in tensors.items()}
    for key in CLASS_NAMES:
        if key in told:
            try:
                found[key] = np.array(json.loads(told[key]))
            except ValueError:
                raise DataError(f"data path {file}: {key} in its metadata is no JSON list of names. Write it by json.dumps.") from None
    return found


def _class_names(file: Path, arrays: dict[str, np.ndarray]) -> list[str] | None:
    key = next((key for key in CLASS_NAMES if key in arrays), None)
    if key is None:
        return None
    names = arrays[key]
    if names.dtype.kind not in "US" or names.ndim != 1 or not len(names):
        raise DataError(f"data path {file}: {key} holds {_shown(names)}, not a list of names. Save one, or leave it out.")
    listed = [entry.decode("utf-8", "replace") if isinstance(entry, bytes) else str(entry) for entry in names.tolist()]
    name, times = Counter(listed).most_common(1)[0]
    if times > 1:
        raise DataError(f"data path {file}: {key} has {name!r} {times} times. Give each class a name of its own.")
    return listed


def _table(file: Path, arrays: dict[str, np.ndarray], key: str, names: list[str] | None) -> Dataset:
    vectors = arrays[key]
    if vectors.dtype.kind != "f" or vectors.ndim != 2 or not vectors.size:
        raise DataError(f"data path {file}: {key} holds {_shown(vectors)}, not floats [N, D]. Save a row for each image.")
    count, width = vectors.shape
    label, feature = _labels(file, arrays, _other(key, FEATURES, LABELS), key, names)
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    features = Features({"image": Sequence(Value("float32"), length=width), "label": feature})
    columns = {"image": pa.FixedSizeListArray.from_arrays(flat, width), "label": label}
    return Dataset(pa.table(columns, schema=features.arrow_schema), fingerprint=_fingerprint(file, key, count))


def _labels(file: Path, arrays: dict[str, np.ndarray], key: str, of: str, names: list[str] | None) -> tuple[pa.Array, Any]:
    if key not in arrays:
        raise DataError(f"data path {file} has {of} and no {key}. Save the labels too; -1 is for one that is not known.")
    labels, count = arrays[key], len(arrays[of])
    if labels.shape != (count,):
        raise DataError(f"data path {file}: {key} has the shape {list(labels.shape)}, and {of} has {count} rows. Save one for each.")
    if labels.dtype.kind == "U":
        return pa.array(labels.tolist(), pa.string()), Value("string")
    if labels.dtype.kind not in "iu":
        raise DataError(f"data path {file}: {key} holds {_shown(labels)}, not whole numbers or words. Save class numbers, from 0.")
    labels = labels.astype(np.int64)
    if names is None:
        return pa.array(labels, mask=labels < 0), Value("int64")
    if labels.max() >= len(names):
        raise DataError(f"data path {file}: label {labels.max()} of {key} does not count into the {len(names)} names. Count from 0.")
    return pa.array(np.maximum(labels, -1)), ClassLabel(names=names)


def _shown(values: np.ndarray) -> str:
    kind = {"U": "text", "S": "text", "O": "objects"}.get(values.dtype.kind, str(values.dtype))
    return f"{kind} {list(values.shape)}"


def _fingerprint(file: Path, key: str, count: int) -> str:
    """Identify a table to `datasets`, which would else hash all of it."""
    about = file.stat()
    return datasets.fingerprint.Hasher.hash((str(file.resolve()), about.st_size, about.st_mtime_ns, key, count))


# Columns of float lists, from whatever kind of file


def is_vector(feature: Any) -> bool:
    """Whether a column's type is a list of floats, of one length or of any."""
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return isinstance(inner, Value) and inner.dtype.startswith(("float", "double"))


def vector_column(table: Dataset) -> str | None:
    """The column of vectors: one with a usual name, else the only one."""
    found = {name.strip().lower(): name for name, feature in table.features.items() if is_vector(feature)}
    usual = [found[name] for name in COLUMNS if name in found]
    return usual[0] if usual else next(iter(found.values())) if len(found) == 1 else None


def read_vectors(table: Dataset, column: str, rows: list[int]) -> list[np.ndarray]:
    """The vectors, [D] and float32, of rows by their numbers."""
    return list(_matrix(table.with_format("arrow")[rows][column]))


def check_vectors(table: Dataset, column: str, what: str) -> None:
    """Refuse vectors that cannot be made unit rows.

    Args:
        table: a split; a row without a vector is passed over.
        column: of the vectors.
        what: the source and split, for messages.

    Raises:
        DataError: two lengths, a value that is not finite, or a vector of zeros.
    """
    values = table.with_format("arrow")[column][:]
    lengths = sorted(pc.unique(pc.list_value_length(values).drop_null()).to_pylist())
    if len(lengths) > 1 or lengths == [0]:
        raise DataError(f"data path {what}: the vectors of {column} have {' and '.join(map(str, lengths[:3]))} values. Give all as many.")
    for numbers, part in _parts(values):
        for bad, says in ((~np.isfinite(part).all(axis=1), "a value that is not finite"), (~part.any(axis=1), "nothing but zeros")):
            if bad.any():
                row = numbers[int(bad.argmax())]
                raise DataError(f"data path {what}: row {row} of {column} holds {says}. Leave the row out, or compute it again.")


def _parts(values: pa.ChunkedArray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Row numbers and vectors of those that are there."""
    for start in range(0, len(values), PART):
        part = values.slice(start, PART)
        numbers = start + np.flatnonzero(part.is_valid().to_numpy())
        if len(numbers):
            yield numbers, _matrix(part.drop_null())


def _matrix(values: pa.ChunkedArray) -> np.ndarray:
    flat = pc.list_flatten(values)
    return np.asarray(flat.to_numpy(), dtype=np.float32).reshape(len(values), -1)
