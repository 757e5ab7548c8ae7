"""Vectors instead of images: files and columns against the arrays that were written, and what is refused, as one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import Code, pixels
from datasets import ClassLabel
from feature_files import CALTECH, NAMES, arrays, npz, opened, parquet, safetensors, unit, whole
from PIL import Image
from safetensors.torch import save_file

from cliptune.data.batches import Rows
from cliptune.data.formats.features import open_features
from cliptune.data.loaders import loader
from cliptune.errors import DataError

# Files


@pytest.mark.parametrize("write", [npz, safetensors])
def test_a_file_gives_its_vectors_labels_and_names_by_split(tmp_path: Path, write: Callable[..., Path]) -> None:
    content = arrays()
    tables = open_features(write(tmp_path, content))
    assert set(tables) == {"train", "val", "test"}
    for split, table in tables.items():
        assert np.array_equal(np.array(table["image"][:], dtype=np.float32), content[f"{split}_features"].astype(np.float32))
        assert table["label"][:] == content[f"{split}_labels"].tolist()
        assert table.features["label"] == ClassLabel(names=NAMES)


@pytest.mark.parametrize("write", [npz, safetensors])
def test_batches_hold_unit_rows_and_labels(tmp_path: Path, write: Callable[..., Path]) -> None:
    content = arrays()
    data = opened(write(tmp_path, content))
    assert data.class_names == NAMES
    for split, batches in (("train", data.train_dataloader()), ("val", data.val_dataloader()), ("test", data.test_dataloader())):
        found = whole(batches)
        assert "images" not in found
        assert found["image_rows"].dtype == torch.float32
        np.testing.assert_allclose(found["image_rows"].numpy(), unit(content[f"{split}_features"]), atol=2e-7)
        assert found["label"].tolist() == content[f"{split}_labels"].tolist()


def test_plain_features_are_train_and_the_rest_is_held_out(tmp_path: Path) -> None:
    content = arrays(counts=(20, 6, 5))
    file = npz(tmp_path, {"features": content["train_features"], "labels": content["train_labels"], "class_names": np.array(NAMES)})
    data = opened(file)
    counts = {split: len(data.rows(split)) for split in ("train", "validation", "test")}
    assert counts == {"train": 16, "validation": 2, "test": 2}
    assert "2 images of train held out for each" in data.notes[0]


def test_splits_picks_one_of_several_training_parts(tmp_path: Path) -> None:
    content = arrays()
    content |= {"shot2_features": content["test_features"][:4] + 1, "shot2_labels": np.array([2, 1, 0, 2])}
    del content["train_features"], content["train_labels"]
    with pytest.raises(DataError, match=r"no split called train, but .*shot2.* Set splits: \{train: NAME\}\."):
        opened(npz(tmp_path, content))
    found = whole(opened(npz(tmp_path, content), splits={"train": "shot2"}).train_dataloader())
    np.testing.assert_allclose(found["image_rows"].numpy(), unit(content["shot2_features"]), atol=2e-7)
    assert found["label"].tolist() == [2, 1, 0, 2]


def test_bfloat16_of_safetensors_is_read(tmp_path: Path) -> None:
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    save_file({"features": values, "labels": torch.arange(6)}, tmp_path / "a.safetensors")
    table = open_features(tmp_path / "a.safetensors")["train"]
    assert torch.equal(torch.tensor(table["image"][:]), values.float())


def test_labels_may_be_words_or_numbers_that_the_user_names(tmp_path: Path) -> None:
    content = arrays()
    del content["classnames"]
    data = opened(npz(tmp_path, content), class_names=NAMES)
    assert whole(data.test_dataloader())["label"].tolist() == [0, 1, 2, 0, 1]
    words = {key: np.array(NAMES)[value] if key.endswith("labels") else value for key, value in content.items()}
    data = opened(npz(tmp_path, words))
    assert data.class_names == NAMES
    assert whole(data.test_dataloader())["label"].tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("named", [True, False])
def test_a_label_of_minus_one_is_not_known_and_not_trained_on(tmp_path: Path, named: bool) -> None:
    content = arrays()
    content["train_labels"][[1, 5]] = -1
    if not named:
        del content["classnames"]
    data = opened(npz(tmp_path, content), **({} if named else {"class_names": NAMES}))
    found = whole(loader(data, "train", shuffle=False))
    kept = content["train_labels"] >= 0
    assert found["label"].tolist() == content["train_labels"][kept].tolist()
    np.testing.assert_allclose(found["image_rows"].numpy(), unit(content["train_features"][kept]), atol=2e-7)


def test_an_array_of_objects_that_is_not_needed_is_not_read(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    file = npz(tmp_path, {**arrays(), "paths": np.array([Code(trap)], dtype=object)})
    assert len(open_features(file)["train"]) == 12
    assert not trap.exists()


def test_the_fingerprint_is_of_the_vectors(tmp_path: Path) -> None:
    content = arrays()
    before = opened(npz(tmp_path, content)).fingerprint()
    assert opened(npz(tmp_path, content)).fingerprint() == before
    (tmp_path / "moved").mkdir()
    shutil.move(tmp_path / "rows.npz", tmp_path / "moved" / "rows.npz")
    assert opened(tmp_path / "moved" / "rows.npz").fingerprint() == before
    content["test_features"][3, 2] += 1
    assert opened(npz(tmp_path, content)).fingerprint() != before


# Columns


@pytest.mark.parametrize("kind", ["fixed", "variable", "double", "half"])
def test_a_parquet_column_of_float_lists_is_the_image_column(tmp_path: Path, kind: str) -> None:
    values = arrays(counts=(20, 1, 1))["train_features"].astype(np.float32)
    inner = {"double": pa.float64(), "half": pa.float16()}.get(kind, pa.float32())
    flat = pa.array(values.reshape(-1).astype(inner.to_pandas_dtype()), inner)
    column = pa.FixedSizeListArray.from_arrays(flat, 4) if kind == "fixed" else pa.array(values.tolist(), pa.list_(pa.float64()))
    column = column if kind == "fixed" else column.cast(pa.list_(inner))
    data = opened(parquet(tmp_path, {"label": [NAMES[i % 3] for i in range(20)], "clip": column, "split": ["train"] * 12 + ["test"] * 8}))
    found = whole(data.test_dataloader())
    np.testing.assert_allclose(found["image_rows"].numpy(), unit(values[12:]), atol=2e-7)
    assert found["label"].tolist() == [i % 3 for i in range(12, 20)]


def test_a_real_image_column_goes_before_vectors(tmp_path: Path) -> None:
    for i in range(9):
        Image.fromarray(pixels(20, 20, i)).save(tmp_path / f"{i}.png")
    columns = {"image": [[1.0, 2.0]] * 9, "path": [f"{i}.png" for i in range(9)], "label": NAMES * 3}
    batch = next(iter(opened(parquet(tmp_path, columns)).train_dataloader()))
    assert batch["images"].shape == (4, 3, 16, 16)
    batch = next(iter(opened(parquet(tmp_path, columns), image_column="image").train_dataloader()))
    assert batch["image_rows"].shape == (4, 2)


def test_of_several_columns_of_vectors_none_is_guessed_but_a_usual_name(tmp_path: Path) -> None:
    columns = {"clip": [[1.0, 0.0]] * 9, "dino": [[0.0, 1.0]] * 9, "label": NAMES * 3}
    with pytest.raises(DataError, match=r"has no column of images.*it has clip, dino, label\. Set image_column"):
        opened(parquet(tmp_path, columns))
    data = opened(parquet(tmp_path, {**columns, "embedding": [[0.6, 0.8]] * 9}))
    assert torch.allclose(next(iter(data.train_dataloader()))["image_rows"], torch.tensor([[0.6, 0.8]]).expand(4, 2))


def test_rows_without_a_vector_are_left_out(tmp_path: Path) -> None:
    columns = {"image": [[1.0, 2.0], None] * 9, "label": NAMES * 6}
    data = opened(parquet(tmp_path, columns))
    assert sum(len(data.rows(split)) for split in ("train", "validation", "test")) == 9
    assert "9 rows without an image" in data.notes[0]


def test_vectors_and_images_do_not_mix(tmp_path: Path) -> None:
    for i in range(9):
        (tmp_path / "images" / NAMES[i % 3]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(20, 20, i)).save(tmp_path / "images" / NAMES[i % 3] / f"{i}.png")
    with pytest.raises(DataError, match=r"one holds vectors, the other images\. Give paths of one kind"):
        opened([str(npz(tmp_path, arrays())), str(tmp_path / "images")])


# Real features


@pytest.mark.skipif(not CALTECH.exists(), reason="needs shared/data/clip_features")
def test_real_features_are_read_to_the_bit() -> None:
    data = opened(CALTECH, splits={"train": "shot4"})
    with np.load(CALTECH, allow_pickle=False) as content:
        names, values, labels = content["classnames"].tolist(), content["test_features"], content["test_labels"]
        assert len(data.rows("train")) == len(content["shot4_labels"]) == 400
    assert data.class_names == [name.replace("_", " ") for name in names]
    rows = Rows(data.splits["test"])
    assert np.array_equal(np.stack([row.image for _, _, row in rows[[(0, i) for i in range(50)]]]), values[:50].astype(np.float32))
    found = whole(data.test_dataloader())
    np.testing.assert_allclose(found["image_rows"].numpy(), unit(values), atol=2e-7)
    assert found["label"].tolist() == labels.tolist()
