"""How rows are seen: what a batch holds, against hand computations and the parts themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from cliptune.data.batches import FILL
from cliptune.data.collate import EvalView, TrainView
from cliptune.data.split import Row
from cliptune.data.views import ImageView
from cliptune.images import decode
from cliptune.preprocess import Preprocess

SCALE, FLIP, SEED = (0.5, 1.0), 0.5, 3


@pytest.fixture(scope="module")
def preprocess() -> Preprocess:
    return Preprocess({"size": 16}, open_clip.get_tokenizer("ViT-B-32"), trim=True)


@pytest.fixture
def rows(picture: Callable[[str], Path]) -> list[Row]:
    """Three images: two with captions and a class, one with a class only."""
    one, two, three = (str(picture(name)) for name in ("1.png", "2.png", "3.png"))
    return [Row(one, ["a cat", "고양이"], ("cat",), one), Row(two, ["a cat"], ("dog",), two), Row(three, [], ("cat",), three)]


def train_view(preprocess: Preprocess, texts: bool = True, seed: int = SEED, number: dict[str, int] | None = None) -> TrainView:
    number = {"cat": 0, "dog": 1} if number is None else number
    image_view = ImageView(preprocess, "fresh", SCALE, FLIP, seed)
    return TrainView(image_view, number, ["a photo of a {}.", "a {}'s photo"], {"cat": "cat", "dog": "dog"}, texts)


# Training


def test_a_training_batch_holds_what_it_says(preprocess: Preprocess, rows: list[Row]) -> None:
    batch = train_view(preprocess)([(0, 10 + i, row) for i, row in enumerate(rows)])
    assert (batch["images"].shape, batch["images"].dtype) == ((3, 3, 16, 16), torch.uint8)
    assert batch["label"].tolist() == [0, 1, 0]
    assert batch["row"].tolist() == [10, 11, 12]
    for i, row in enumerate(rows):
        rng = np.random.default_rng((SEED, 0, 10 + i))
        assert torch.equal(batch["images"][i], preprocess.train(decode(row.image), rng, SCALE, FLIP))
        options = row.captions or ["a photo of a cat.", "a cat's photo"]
        tokens = batch["tokens"][batch["text"][i]]
        assert tokens.tolist() in [preprocess.tokenizer([text])[0, : len(tokens)].tolist() for text in options]


def test_the_view_of_a_row_does_not_depend_on_the_rows_around_it(preprocess: Preprocess, rows: list[Row]) -> None:
    view = train_view(preprocess)
    together, alone = view([(4, i, row) for i, row in enumerate(rows)]), view([(4, 1, rows[1])])
    assert torch.equal(together["images"][1], alone["images"][0])
    assert torch.equal(together["identity"][1], alone["identity"][0])


def test_the_view_of_a_row_is_a_function_of_seed_epoch_and_row(preprocess: Preprocess, rows: list[Row]) -> None:
    view = train_view(preprocess)
    images = view([(0, 0, rows[0])])["images"]
    assert torch.equal(view([(0, 0, rows[0])])["images"], images)
    for other in (view([(1, 0, rows[0])]), view([(0, 1, rows[0])]), train_view(preprocess, seed=SEED + 1)([(0, 0, rows[0])])):
        assert not torch.equal(other["images"], images)


@pytest.mark.parametrize("which", [0, 2])  # captions; templates
def test_one_of_several_texts_is_drawn_in_each_epoch_all_alike(preprocess: Preprocess, rows: list[Row], which: int) -> None:
    view = train_view(preprocess)
    batch = view([(epoch, which, rows[which]) for epoch in range(200)])
    assert len(batch["tokens"]) == 2
    assert 70 <= batch["text"].sum() <= 130  # 4.2 standard deviations


def test_each_distinct_text_is_tokenized_once(preprocess: Preprocess, rows: list[Row]) -> None:
    batch = train_view(preprocess)([(0, 0, rows[1]), (0, 1, rows[1]), (0, 2, rows[1])])
    assert len(batch["tokens"]) == 1
    assert batch["text"].tolist() == [0, 0, 0]


def test_identities_tell_which_labels_texts_and_images_are_the_same(preprocess: Preprocess, rows: list[Row]) -> None:
    same_caption = rows[0]._replace(captions=["a cat"], labels=(), key="elsewhere")
    identity = train_view(preprocess)([(0, 0, rows[1]), (0, 1, same_caption), (0, 2, rows[1]), (0, 3, rows[2])])["identity"]
    label, text, image = identity.T.tolist()
    assert label[0] == label[2] != label[3]
    assert label[1] == -1
    assert text[0] == text[1] == text[2] != text[3]
    assert image[0] == image[2]
    assert len(set(image)) == 3
    assert min(text + image) >= 0


def test_a_label_that_is_no_class_is_not_known(preprocess: Preprocess, rows: list[Row]) -> None:
    batch = train_view(preprocess, number={})([(0, 0, rows[0]), (0, 1, rows[1])])
    assert batch["label"].tolist() == [-1, -1]
    assert batch["identity"][:, 0].tolist() == [-1, -1]


def test_classes_need_no_texts(preprocess: Preprocess, rows: list[Row]) -> None:
    assert set(train_view(preprocess, texts=False)([(0, 0, rows[0])])) == {"images", "label", "row"}


# Evaluation


def test_evaluation_sees_the_models_own_view_and_all_captions(preprocess: Preprocess, rows: list[Row]) -> None:
    batch = EvalView(preprocess, {"cat": 0, "dog": 1}, captions=True)([(0, 5, rows[0]), (0, 6, rows[1])])
    assert torch.equal(batch["images"], torch.stack([preprocess.eval(decode(row.image)) for row in rows[:2]]))
    assert torch.equal(batch["tokens"], preprocess.tokenize(["a cat", "고양이", "a cat"]))
    assert batch["owner"].tolist() == [0, 0, 1]
    assert (batch["label"].tolist(), batch["row"].tolist()) == ([0, 1], [5, 6])


def test_evaluation_without_captions_has_no_tokens(preprocess: Preprocess, rows: list[Row]) -> None:
    batch = EvalView(preprocess, {"dog": 0}, captions=False)([(0, 0, rows[1]), (0, 1, rows[2])])
    assert set(batch) == {"images", "label", "row"}
    assert batch["label"].tolist() == [0, -1]


@pytest.mark.parametrize("kind", ["train", "eval"])
def test_every_image_is_decoded_once(preprocess: Preprocess, rows: list[Row], monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    decoded: list[str] = []

    def count(image: bytes | str, name: str) -> torch.Tensor:
        decoded.append(name)
        return torch.zeros(3, 20, 20, dtype=torch.uint8)

    monkeypatch.setattr(preprocess, "decode", count)
    view = train_view(preprocess) if kind == "train" else EvalView(preprocess, {}, captions=True)
    view([(0, i, row) for i, row in enumerate(rows)])
    assert decoded == [row.key for row in rows]


def test_what_only_fills_a_batch_has_no_label_no_row_and_no_captions(preprocess: Preprocess, rows: list[Row]) -> None:
    view = EvalView(preprocess, {"cat": 0, "dog": 1}, captions=True)
    batch = view([(0, 4, rows[1]), (FILL, 0, rows[0])])
    assert (batch["row"].tolist(), batch["label"].tolist(), batch["owner"].tolist()) == ([4, -1], [1, -1], [0])
    assert len(batch["images"]) == 2
    filling = view([(FILL, 0, rows[0])])
    assert (filling["row"].tolist(), filling["owner"].tolist(), len(filling["tokens"])) == ([-1], [0], 1)


# Hard negatives


def spoken(preprocess: Preprocess, tokens: torch.Tensor) -> list[str]:
    decoded = map(preprocess.tokenizer.decode, tokens.tolist())
    return [text.replace("<start_of_text>", "").partition("<end_of_text>")[0].strip() for text in decoded]


def test_negatives_come_from_the_row_and_from_swaps_of_its_text(preprocess: Preprocess) -> None:
    image = np.zeros(4, dtype=np.float32)
    items = [
        (0, 0, Row(image + 1, ["a red cube and a blue ball"], (), "a", ["a cube of ice"])),
        (0, 1, Row(image + 2, ["nothing"], (), "b")),
        (0, 2, Row(image + 3, ["a dog"], (), "c", ["a cube of ice", "a wolf"])),
    ]
    image_view = ImageView(preprocess, 0, SCALE, FLIP, SEED)
    view = TrainView(image_view, {}, [], {}, True, swaps=1)
    batch = view(items)
    said = spoken(preprocess, batch["tokens"][batch["negative"]])
    assert said == ["a cube of ice", "a blue cube and a red ball", "a cube of ice", "a wolf"]
    assert batch["negative_identity"][0] == batch["negative_identity"][2]
    assert not set(batch["negative_identity"].tolist()) & set(batch["identity"][:, 1].tolist())
    again = TrainView(image_view, {}, [], {}, True, swaps=1)([(5, number, row) for _, number, row in items])
    assert torch.equal(again["negative_identity"], batch["negative_identity"])  # a text's swaps are the same in every epoch
    assert view.every_text(items[0][2]) == ["a red cube and a blue ball", "a cube of ice", "a blue cube and a red ball"]
    assert "negative" not in TrainView(image_view, {}, [], {}, True)([items[1]])
