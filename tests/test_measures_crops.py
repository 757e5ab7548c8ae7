"""Evaluation at several crops: the crops against torchvision's, what is won by hand, and the plain half against the usual evaluation."""

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import pixels
from known_rows import KnownRows, known_rows, pictured, plain_picture
from made_data import PREPROCESS, data
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from cliptune.distributed import world
from cliptune.errors import DataError
from cliptune.evaluate import Evaluate
from cliptune.loading import untouched
from cliptune.measures.checking import check_measures
from cliptune.measures.composition import measure_composition
from cliptune.measures.crop_views import five, quarters
from cliptune.measures.crops import measure_crops
from cliptune.preprocess import Preprocess
from cliptune.rescore import score

RED, GREEN = (255, 0, 0), (0, 255, 0)
MODEL = known_rows({"red": (1, 0, 0), "green": (0, 1, 0)})


def preprocess(mode: str, size: Any = 56) -> Preprocess:
    return Preprocess({"size": size, "resize_mode": mode, "fill_color": 9}, PREPROCESS.tokenizer, trim=True)


def seen(height: int, width: int) -> Tensor:
    return torch.from_numpy(pixels(height, width).copy()).permute(2, 0, 1)


@pytest.mark.parametrize(("shape", "larger"), [((90, 130), [64, 92]), ((130, 90), [92, 64]), ((64, 64), [64, 64]), ((20, 23), [64, 73])])
def test_five_crops_are_torchvision_s_of_an_image_8_7_as_large(shape: tuple[int, int], larger: list[int]) -> None:
    image = seen(*shape)
    expected = F.five_crop(F.resize(image, larger, F.InterpolationMode.BICUBIC, antialias=True), [56, 56])
    found = five(preprocess("shortest"), image)
    assert len(found) == 5
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_model_that_squashes_images_sees_squashed_crops() -> None:
    image = seen(90, 130)
    expected = F.five_crop(F.resize(image, [64, 64], F.InterpolationMode.BICUBIC, antialias=True), [56, 56])
    assert all(torch.equal(one, other) for one, other in zip(five(preprocess("squash"), image), expected, strict=True))


def test_a_model_that_puts_margins_around_long_images_does_so_around_crops() -> None:
    found = five(preprocess("longest"), seen(30, 120))  # 16 x 64, of which crops are 16 x 56
    large = F.resize(seen(30, 120), [16, 64], F.InterpolationMode.BICUBIC, antialias=True)
    for one, left in zip(found, (0, 8, 0, 8, 4), strict=True):
        assert one.shape == (3, 56, 56)
        assert bool((one[:, :20] == 9).all() and (one[:, 36:] == 9).all())
        assert torch.equal(one[:, 20:36], large[:, :, left : left + 56])


@pytest.mark.parametrize("mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [56, (40, 56)])
def test_quarters_are_of_the_image_s_own_pixels_and_the_model_s_size(mode: str, size: Any) -> None:
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0)]
    image = torch.empty(3, 60, 90, dtype=torch.uint8)
    for i, colour in enumerate(colours):
        image[:, (i // 2) * 30 : (i // 2) * 30 + 30, (i % 2) * 45 : (i % 2) * 45 + 45] = torch.tensor(colour)[:, None, None]
    own = preprocess(mode, size)
    for one, colour in zip(quarters(own, image), colours, strict=True):
        assert one.shape == (3, *own.size)
        assert torch.equal(one[:, own.size[0] // 2, own.size[1] // 2], torch.tensor(colour, dtype=torch.uint8))
    assert all(one.shape == (3, *own.size) for view in (five, quarters) for one in view(own, seen(1, 7)))
    odd = quarters(own, seen(61, 91))
    assert torch.equal(odd[3], own.eval(seen(61, 91)[:, 30:, 45:]))


def striped(folder: Path) -> Any:
    """Two pictures, both of class red: one is red, the other green with red at both ends, where the model's own view does not look."""
    made = pictured(folder, [{"colour": "red", "label": label, "caption": label} for label in ("red", "red", "green")])
    picture = Image.new("RGB", (48, 16), RED)
    picture.paste(GREEN, (16, 0, 32, 16))
    picture.save(folder / "pictures" / "1.png")
    plain_picture(folder / "pictures" / "2.png", GREEN)
    return made


def test_what_is_won_is_counted_image_by_image(tmp_path: Path) -> None:
    found = measure_crops(MODEL, striped(tmp_path), "5")
    told = found.told
    assert (told["how"], told["views"], told["images"]) == ("5", 5, 3)
    assert told["plain"]["top1"] == pytest.approx(2 / 3)
    assert told["crops"]["top1"] == pytest.approx(1.0)  # four of five crops see the ends
    assert told["gain"]["top1"] == pytest.approx(1 / 3)
    assert told["flips"]["top1"] == {"won": 1, "lost": 0, "p": 1.0}
    assert found.items["top1"].tolist() == [0.0, 1.0, 0.0]
    assert {"recall@1_image_to_text", "recall@1_text_to_image"} <= found.items.keys()
    assert told["cost"] == pytest.approx(told["seconds"]["crops"] / told["seconds"]["plain"])


def test_a_grid_averages_the_whole_and_its_quarters(tmp_path: Path) -> None:
    model = KnownRows({"red": (1, 0, 0), "green": (0, 1, 0)})
    found = measure_crops(model, striped(tmp_path), "grid").told  # type: ignore[arg-type]
    assert found["views"] == 5
    # of 24 x 8 quarters the middle 8 is seen, left all red and right all red, against a whole that is green
    assert found["crops"]["top1"] == pytest.approx(1.0)


@pytest.mark.parametrize("family", ["vit", "siglip"])
@pytest.mark.parametrize("how", ["5", "grid"])
def test_the_plain_half_is_what_the_usual_evaluation_says(tiny: dict[str, str], tmp_path: Path, how: str, family: str) -> None:
    model = untouched(tiny[family])
    rows = [{"image": str(tmp_path / f"{i}.png"), "captions": [f"dog {i}", f"a cat {i // 2}"], "label": "ab"[i % 2]} for i in range(9)]
    rows = [{**row, "split": "test" if i < 6 else "train" if i < 8 else "validation"} for i, row in enumerate(rows)]
    for i, row in enumerate(rows):
        Image.fromarray(pixels(40, 60 + i, seed=i)).save(row["image"])
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "table.parquet")
    made = data(str(tmp_path / "table.parquet"), preprocess=model.backbone.preprocess, batch_size=2, allow_outside=True)
    found = measure_crops(model, made, how).told
    usual = score(model, made, "test").metrics
    assert found["plain"].keys() == usual.keys()
    assert all(found["plain"][name] == pytest.approx(usual[name], abs=1e-6) for name in usual)
    assert any(abs(found["crops"][name] - usual[name]) > 1e-6 for name in usual)


def test_an_image_that_cannot_be_read_counts_for_nothing(tmp_path: Path) -> None:
    made = striped(tmp_path)
    (tmp_path / "pictures" / "0.png").write_bytes(b"no picture")
    assert measure_crops(MODEL, made, "grid").told["images"] == 2


def test_one_process_measures_and_asks_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*arguments: Any, **named: Any) -> None:
        raise AssertionError("the others wait, and would not answer")

    made = striped(tmp_path)
    for name, value in (("is_initialized", lambda: True), ("get_world_size", lambda *group: 2), ("get_rank", lambda *group: 0)):
        monkeypatch.setattr(torch.distributed, name, value)
    for name in ("all_gather", "all_reduce", "barrier", "all_gather_object"):
        monkeypatch.setattr(torch.distributed, name, ask)
    assert world() == 2
    found = measure_crops(MODEL, made, "5").told
    assert found["images"] == 3
    assert found["crops"]["recall"] > 0
    assert measure_composition(MODEL, pictured(tmp_path, [{"colour": "red", "caption": "A dog chases a man."}]), ["swap"]).told["kinds"]


def test_data_without_images_has_no_crops(tmp_path: Path) -> None:
    table = {"vector": [[1.0, 0.0], [0.0, 1.0]] * 10, "label": ["a", "b"] * 10}
    datasets.Dataset.from_dict(table).to_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataError, match="the data holds rows"):
        check_measures(Evaluate(crops="5"), data(str(tmp_path / "rows.parquet"), image_column="vector"))
    check_measures(Evaluate(), data(str(tmp_path / "rows.parquet"), image_column="vector"))


def test_labels_alone_cannot_be_swapped() -> None:
    with pytest.raises(DataError, match="swap makes pairs of the data's captions, and it has none"):
        check_measures(Evaluate(composition="swap"), data())
