"""Tests of `data.features`: what is refused of files and columns of vectors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Code
from feature_files import NAMES, arrays, npz, opened, parquet
from safetensors.torch import save_file

from cliptune.errors import DataError


def changed(**by: Any) -> dict[str, Any]:
    return {key: value for key, value in {**arrays(), **by}.items() if value is not None}


def spoiled(value: float) -> np.ndarray:
    found = arrays()["val_features"]
    found[2] = value if value == 0 else found[2]
    found[2, 1] = value
    return found


OBJECTS = np.array([Code(Path("/nowhere/at/all"))], dtype=object)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no labels": (changed(val_labels=None), r"has val_features and no val_labels\. Save the labels too"),
    "no features": (changed(val_features=None), r"has val_labels and no val_features\. Save both"),
    "nothing": ({"x": np.zeros(3)}, r"holds no features\. Name its arrays features and labels"),
    "two trains": ({**arrays(), "features": np.ones((2, 4)), "labels": np.arange(2)}, r"both features and train_features\. Leave one out"),
    "one axis": (changed(val_features=np.ones(6)), r"val_features holds float64 \[6\], not floats \[N, D\]"),
    "whole numbers": (changed(val_features=np.ones((6, 4), int)), r"val_features holds int64 \[6, 4\], not floats"),
    "no rows": (changed(val_features=np.ones((0, 4))), r"val_features holds float64 \[0, 4\], not floats"),
    "too few labels": (
        changed(val_labels=np.arange(3)),
        r"val_labels has the shape \[3\], and val_features has 6 rows\. Save one",
    ),
    "fractions": (changed(val_labels=np.ones(6)), r"val_labels holds float64 \[6\], not whole numbers or words"),
    "a label too high": (changed(val_labels=np.full(6, 3)), r"label 3 of val_labels does not count into the 3 names\. Count from 0"),
    "names as numbers": (changed(classnames=np.arange(3)), r"classnames holds int64 \[3\], not a list of names"),
    "a name twice": (changed(classnames=np.array(["a", "b", "a"])), r"classnames has 'a' 2 times\. Give each class a name of its own"),
    "not a number": (changed(val_features=spoiled(np.nan)), r"the validation split: row 2 of image holds a value that is not finite"),
    "infinite": (changed(val_features=spoiled(np.inf)), r"the validation split: row 2 of image holds a value that is not finite"),
    "zeros": (changed(val_features=spoiled(0)), r"the validation split: row 2 of image holds nothing but zeros\. Leave the row out"),
    "objects": (changed(classnames=OBJECTS), r"classnames holds Python objects, which could run code.*Save plain numbers and text"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_one_line_with_the_way_out(tmp_path: Path, case: str) -> None:
    content, message = REFUSED[case]
    with pytest.raises(DataError, match=message) as caught:
        opened(npz(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"nothing of the kind", b"PK\x03\x04 cut off"])
def test_a_damaged_file_is_one_line(tmp_path: Path, suffix: str, content: bytes) -> None:
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"a{suffix} is no {suffix[1:]} file, or it is damaged") as caught:
        opened(file)
    assert "\n" not in str(caught.value)


def test_a_single_array_or_a_pickle_under_the_name_of_npz_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    for content in (np.ones((2, 3)), np.array([Code(trap)], dtype=object)):
        with (tmp_path / "a.npz").open("wb") as file:
            np.save(file, content, allow_pickle=True)
        with pytest.raises(DataError, match=r"is no npz file, or it is damaged\. Write it by numpy\.savez"):
            opened(tmp_path / "a.npz")
    assert not trap.exists()


def test_names_in_metadata_that_are_no_list_are_refused(tmp_path: Path) -> None:
    save_file({"features": torch.ones(3, 2), "labels": torch.arange(3)}, tmp_path / "a.safetensors", {"classnames": "ant, bee"})
    with pytest.raises(DataError, match=r"classnames in its metadata is no JSON list of names\. Write it by json\.dumps"):
        opened(tmp_path / "a.safetensors")


def test_vectors_of_two_lengths_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the vectors of image have 2 and 3 values\. Give all as many"):
        opened(parquet(tmp_path, {"image": [[1.0, 2.0]] * 8 + [[1.0, 2.0, 3.0]], "label": NAMES * 3}))


def test_a_missing_file_of_features_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    npz(tmp_path, arrays())
    with pytest.raises(DataError, match=r"there is no row\.npz in .*Did you mean rows\.npz\?"):
        opened(Path("row.npz"))
