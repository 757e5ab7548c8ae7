"""Composition: SugarCrepe's accuracy and Winoground's three scores, by hand; the pairs that are made of captions; files that do not fit."""

import json
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from known_rows import known_rows, pictured, plain_picture

from cliptune.errors import DataError
from cliptune.measures.composition import CHANCE, measure_composition
from cliptune.measures.composition_files import Fours, Pairs, open_pairs
from cliptune.measures.made_pairs import kind_of, made_pairs

CAPTIONS = ["A red dog sits beside a blue cat.", "A man holds a large ball near a small house.", "A dog chases a man."]
MANY = "A red dog, a blue cat, a green bird and a yellow fish look at two trees, four houses and {} men."
SCORES = {  # of caption 0 with image 0 and 1, and of caption 1 likewise; then whether text and image score count it
    "both": ((0.9, 0.8), (0.7, 0.85), True, True),
    "text": ((0.5, 0.6), (0.4, 0.7), True, False),
    "image": ((0.9, 0.5), (0.95, 0.99), False, True),
    "tie": ((0.5, 0.5), (0.5, 0.5), False, False),
    "half a tie": ((0.9, 0.1), (0.9, 0.95), False, True),
}


def sugar_crepe(folder: Path, pictures: str = "val2017", **kinds: list[tuple[str, str, str]]) -> Path:
    """Write a file for each kind, of (picture, caption, negative), and plain pictures beside their folder."""
    own = folder / "sugarcrepe"
    own.mkdir(parents=True)
    for kind, entries in kinds.items():
        rows = {str(i): dict(zip(("filename", "caption", "negative_caption"), entry, strict=True)) for i, entry in enumerate(entries)}
        (own / f"{kind}.json").write_text(json.dumps(rows), encoding="utf-8")
        for name, _, _ in entries:
            plain_picture(folder / pictures / name, name.partition(".")[0])
    return own


def winoground(folder: Path, suffix: str = ".png") -> Path:
    """Write rows of `SCORES` as Winoground's own list has them, whose picture 0 is red and 1 green."""
    rows = [
        {"id": i, "image_0": "red", "image_1": "green", "caption_0": f"{name} 0", "caption_1": f"{name} 1", "collapsed_tag": name[:4]}
        for i, name in enumerate(SCORES)
    ]
    (folder / "winoground").mkdir()
    for colour in ("red", "green"):
        plain_picture(folder / "winoground" / "images" / f"{colour}{suffix}", colour)
    file = folder / "winoground" / "examples.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return file


WINOGROUND = known_rows({f"{name} {i}": (*scores[i], 0.0) for name, scores in SCORES.items() for i in (0, 1)})  # type: ignore[misc]


def test_sugar_crepe_counts_a_pair_where_the_true_caption_is_ahead(tmp_path: Path) -> None:
    kinds = {
        "swap_obj": [("red.png", "red", "green"), ("red.png", "blue", "red"), ("green.png", "green", "blue")],
        "add_att": [("blue.png", "blue", "red")],
    }
    folder = sugar_crepe(tmp_path, **kinds)
    model = known_rows({"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)})
    found = measure_composition(model, pictured(tmp_path, [{"colour": "red", "caption": "x"}]), [str(folder)])
    kinds_told = found.told["kinds"]
    assert {name: (one["pairs"], one["accuracy"]) for name, one in kinds_told.items()} == {
        "sugarcrepe": (4, 0.75),
        "sugarcrepe: add_att": (1, 1.0),
        "sugarcrepe: swap_obj": (3, pytest.approx(2 / 3)),
    }
    assert found.items["sugarcrepe: swap_obj"].tolist() == [1.0, 0.0, 1.0]
    picture = found.units["sugarcrepe: swap_obj"]
    assert picture[0] == picture[1] != picture[2]  # pairs of one picture stand or fall together
    assert {one["chance"] for one in kinds_told.values()} == {0.5}


def test_a_model_that_says_the_same_of_everything_scores_nothing(tmp_path: Path) -> None:
    folder = sugar_crepe(tmp_path, swap_att=[("red.png", "a b", "b a"), ("green.png", "c d", "d c")])
    made = pictured(tmp_path, [{"colour": "red", "caption": CAPTIONS[0]}])
    found = measure_composition(known_rows({}, other=(0.3, 0.3, 0.3)), made, [str(folder), str(winoground(tmp_path)), "swap"]).told["kinds"]
    assert len(found) > 8
    assert all(one["accuracy"] == 0 and one["ties"] == one["pairs"] for one in found.values())


@pytest.mark.parametrize("form", ["list", "folder", "parquet", "saved"])
def test_winoground_has_a_text_an_image_and_a_group_score(tmp_path: Path, form: str) -> None:
    file = winoground(tmp_path)
    source = {"list": file, "folder": file.parent}.get(form, tmp_path / "whole.parquet")
    if form in ("parquet", "saved"):
        rows: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        rows = [
            {**row, **{k: {"path": None, "bytes": (file.parent / f"images/{row[k]}.png").read_bytes()} for k in ("image_0", "image_1")}}
            for row in rows
        ]
        table = datasets.Dataset.from_list(rows).cast_column("image_0", datasets.Image()).cast_column("image_1", datasets.Image())
        table.to_parquet(source) if form == "parquet" else table.save_to_disk(source)
    found = measure_composition(WINOGROUND, pictured(tmp_path, [{"colour": "red", "caption": "x"}]), [str(source)])
    name = {"list": "examples", "folder": "winoground"}.get(form, "whole")
    for score, right in (
        ("text", [text for *_, text, _ in SCORES.values()]),
        ("image", [image for *_, image in SCORES.values()]),
        ("group", [text and image for *_, text, image in SCORES.values()]),
    ):
        assert found.items[f"{name} {score}"].bool().tolist() == right, score
        assert found.told["kinds"][f"{name} {score}"]["accuracy"] == pytest.approx(sum(right) / len(right))
    assert [found.told["kinds"][f"{name} {score}"]["chance"] for score in ("text", "image", "group")] == [0.25, 0.25, pytest.approx(1 / 6)]
    assert found.told["kinds"][f"{name} text: both"]["pairs"] == 1


def test_chance_is_what_random_scores_come_to() -> None:
    scores = torch.rand(200_000, 2, 2, generator=torch.Generator().manual_seed(0))  # [E, image, text]
    text = (scores[:, 0, 0] > scores[:, 0, 1]) & (scores[:, 1, 1] > scores[:, 1, 0])
    image = (scores[:, 0, 0] > scores[:, 1, 0]) & (scores[:, 1, 1] > scores[:, 0, 1])
    for name, right in (("text", text), ("image", image), ("group", text & image)):
        assert float(right.float().mean()) == pytest.approx(CHANCE[name], abs=0.004)


def test_pictures_may_lie_in_a_folder_that_is_named(tmp_path: Path) -> None:
    folder = sugar_crepe(tmp_path / "a", "elsewhere/pictures", swap_obj=[("red.png", "red", "green")])
    with pytest.raises(DataError, match=r"there is no picture red\.png beside .*@FOLDER"):
        open_pairs(str(folder / "swap_obj.json"))
    found = open_pairs(f"{folder}@{tmp_path}/a/elsewhere/pictures")
    assert isinstance(found, Pairs)
    assert found.pictures == [str(tmp_path / "a/elsewhere/pictures/red.png")]


def test_a_picture_that_cannot_be_read_takes_its_pairs_out(tmp_path: Path) -> None:
    folder = sugar_crepe(tmp_path, swap_obj=[("red.png", "red", "green"), ("green.png", "green", "blue")])
    (tmp_path / "val2017" / "green.png").write_bytes(b"no picture")
    model = known_rows({"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)})
    found = measure_composition(model, pictured(tmp_path, [{"colour": "red", "caption": "x"}]), [str(folder)])
    assert found.told["unreadable"] == 1
    assert found.told["kinds"]["sugarcrepe"]["pairs"] == 1


def test_swaps_are_made_of_each_caption_and_the_same_every_time(tmp_path: Path) -> None:
    rows = [
        {"colour": "red", "captions": CAPTIONS},
        {"colour": "green", "captions": ["Nothing."]},
        {"colour": "blue", "captions": CAPTIONS[:1]},
    ]
    made = pictured(tmp_path, rows)
    pairs, again = made_pairs(made), made_pairs(pictured(tmp_path, rows))
    assert pairs == again
    assert pairs.right == [*CAPTIONS, CAPTIONS[0]]
    assert pairs.picture == [0, 0, 0, 2]
    assert all(right != wrong for right, wrong in zip(pairs.right, pairs.wrong, strict=True))
    many = pictured(tmp_path, [{"colour": "red", "caption": MANY.format(i)} for i in range(4)])
    assert made_pairs(many) == made_pairs(many)  # of some hundred that could be
    assert pairs.kind == ["attributes exchanged", "attributes exchanged", "words exchanged", "attributes exchanged"]


@pytest.mark.parametrize(
    ("right", "wrong", "kind"),
    [
        ("a red cube and an orange ball", "an orange cube and a red ball", "attributes exchanged"),
        ("a red cube", "a green cube", "attribute replaced"),
        ("the dog chases the man", "the man chases the dog", "words exchanged"),
    ],
)
def test_the_kind_of_a_swap_is_read_off_its_words(right: str, wrong: str, kind: str) -> None:
    assert kind_of(right, wrong) == kind


def test_swaps_are_scored_with_their_own_image(tmp_path: Path) -> None:
    made = pictured(tmp_path, [{"colour": "red", "caption": CAPTIONS[0]}, {"colour": "green", "caption": CAPTIONS[2]}])
    model = known_rows({CAPTIONS[0]: (1, 0, 0), CAPTIONS[2]: (1, 0, 0)}, other=(0.5, 0.5, 0.5))  # the second is said of a red image
    found = measure_composition(model, made, ["swap"])
    assert found.items["swap"].tolist() == [1.0, 0.0]
    assert found.told["examples"]["swap: words exchanged"] == [[0.0, 0.5]]
    assert found.shared["examples"]["swap: words exchanged"][0]["right"] == CAPTIONS[2]


def test_the_data_own_negatives_are_pairs_too(tmp_path: Path) -> None:
    rows = [{"colour": "red", "caption": "One word", "wrong": ["no", "not this"]}, {"colour": "green", "caption": CAPTIONS[2], "wrong": []}]
    found = measure_composition(known_rows({"One word": (1, 0, 0)}), pictured(tmp_path, rows, negative_column="wrong"), ["swap"]).told[
        "kinds"
    ]
    assert found["swap: negatives"]["pairs"] == 2
    assert found["swap: negatives"]["accuracy"] == 1.0


def test_what_is_in_neither_format_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "other.jsonl").write_text(json.dumps({"image_0": "a", "text": "b"}), encoding="utf-8")
    folder = sugar_crepe(tmp_path, swap_obj=[("red.png", "red", "green"), ("blue.png", "blue", "green")])
    (folder / "lacks.json").write_text(json.dumps({"0": {"filename": "red.png", "negative_caption": "x"}}), encoding="utf-8")
    for source, said in (
        ("other.jsonl", r"neither format: it has image_0, text\. SugarCrepe's .* filename, caption, negative_caption, Winoground's"),
        ("sugarcrep", r"there is no sugarcrep in .*\. Did you mean sugarcrepe\?"),
        ("sugarcrepe/lacks.json", r"lacks\.json: entry 0 has no caption\. Each needs"),
        ("sugarcrepe/swap_obj.json@nowhere", r"there is no nowhere"),
    ):
        with pytest.raises(DataError, match=said) as caught:
            open_pairs(str(tmp_path / source) if "@" not in source else f"{tmp_path}/sugarcrepe/swap_obj.json@{tmp_path}/nowhere")
        assert "\n" not in str(caught.value)
    (tmp_path / "val2017" / "blue.png").unlink()
    with pytest.raises(DataError, match=r"1 of 2 pictures are not in .*val2017, blue\.png first"):
        open_pairs(str(folder / "swap_obj.json"))


def test_pictures_without_suffix_are_found(tmp_path: Path) -> None:
    found = open_pairs(str(winoground(tmp_path, ".jpg")))
    assert isinstance(found, Fours)
    assert [Path(str(place)).name for place in found.pictures[:2]] == ["red.jpg", "green.jpg"]
