"""How the data's keys reach what is seen: long texts, images kept decoded, samplers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_data import data, texts_of

from cliptune.backbone import Backbone
from cliptune.data.batches import Batch
from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError
from cliptune.rows import in_pieces

pytest_plugins = ["made_data"]

LONG = " ".join(f"Sentence number {i} says that the lung is clear in its lobe." for i in range(12))  # 12 x 13 tokens


def long_data(write: Callable[..., Path], how: str, **options: object) -> ImageTextData:
    return data(write([LONG, "short"] * 10), long_text=how, **options)


def test_the_share_of_long_captions_is_told_with_what_is_done(write: Callable[..., Path]) -> None:
    for how, done in (("truncate", "their ends are cut off"), ("sample_sentence", "draws one"), ("split_mean", "read in pieces")):
        made = long_data(write, how)
        (note,) = [note for note in made.notes if "longer" in note]
        rows = made.rows("train")
        share = sum(row.captions == [LONG] for _, _, row in rows[[(0, i) for i in range(len(rows))]]) / len(rows)
        assert note.startswith(f"{share:.1%} of the captions are longer than 77 tokens: ")
        assert done in note
    assert not [note for note in data(write(["short"] * 12)).notes if "longer" in note]


def test_a_sentence_of_a_long_text_is_drawn_anew_each_epoch(write: Callable[..., Path]) -> None:
    made = long_data(write, "sample_sentence")
    rows = made.rows("train")
    long = next(number for number in range(len(rows)) if rows[[(0, number)]][0][2].captions == [LONG])
    said = [texts_of(made.train_view()(rows[[(epoch, long)]])["tokens"])[0] for epoch in range(8)]
    assert all(text.startswith("sentence number") and text.count("sentence") == 1 for text in said)
    assert len(set(said)) > 2
    assert said == [texts_of(made.train_view()(rows[[(epoch, long)]])["tokens"])[0] for epoch in range(8)]


def mean_by_hand(vit: Backbone, made: ImageTextData, text: str) -> torch.Tensor:
    assert made.sights.long_text is not None
    pieces = made.sights.long_text.choices(text)
    rows = vit.encode_text(vit.preprocess.tokenize(pieces))
    return F.normalize(rows.mean(dim=0), dim=-1)


@torch.no_grad()
def test_a_long_text_in_pieces_has_the_mean_of_their_rows(write: Callable[..., Path], vit: Backbone) -> None:
    made = long_data(write, "split_mean", preprocess=vit.preprocess)

    def rows_of(batch: Batch) -> torch.Tensor:
        return in_pieces(vit.encode_text(batch["tokens"]), batch)

    train = made.train_view()(made.rows("train")[[(0, 0), (0, 1), (0, 2)]])
    rows = made.rows("train")
    for i, text in enumerate(train["text"].tolist()):
        said = rows[[(0, i)]][0][2].captions[0]
        torch.testing.assert_close(rows_of(train)[text], mean_by_hand(vit, made, said), atol=1e-6, rtol=0)
    held = made.rows("validation")
    evaluated = made.eval_view("validation")(held[[(0, 0), (0, 1)]])
    assert len(rows_of(evaluated)) == len(evaluated["owner"]) == 2
    for i in range(2):
        torch.testing.assert_close(rows_of(evaluated)[i], mean_by_hand(vit, made, held[[(0, i)]][0][2].captions[0]), atol=1e-6, rtol=0)


def test_the_pk_sampler_gives_so_many_images_of_so_many_classes(write: Callable[..., Path]) -> None:
    table = write(["ant", "bee", "cat", "dog"] * 12, "label")
    made = data(table, sampler="pk", classes_per_batch=3, images_per_class=4, batch_size=12)
    for batch in made.train_dataloader():
        classes, counts = np.unique(batch["label"].numpy(), return_counts=True)
        assert (len(classes), counts.tolist()) == (3, [4, 4, 4])


def test_the_distinct_sampler_keeps_images_of_a_class_apart(write: Callable[..., Path]) -> None:
    made = data(write([f"kind {i}" for i in range(20)] * 5, "label"), sampler="distinct", batch_size=8)
    for batch in made.train_dataloader():
        assert len(set(batch["label"].tolist())) == 8


def test_a_balanced_epoch_has_each_class_equally_often(write: Callable[..., Path]) -> None:
    made = data(write(["often"] * 40 + ["rare"] * 8, "label"), sampler="balanced", batch_size=4)
    labels = torch.cat([batch["label"] for batch in made.train_dataloader()]).bincount().tolist()
    assert abs(labels[0] - labels[1]) <= 4


def test_an_image_that_comes_twice_in_an_epoch_is_seen_under_two_views(write: Callable[..., Path]) -> None:
    made = data(write(["often"] * 40 + ["rare"] * 4, "label"), sampler="balanced", batch_size=4, crop_scale=(0.3, 0.9))
    seen: dict[int, list[torch.Tensor]] = {}
    for batch in made.train_dataloader():
        for row, image in zip(batch["row"].tolist(), batch["images"], strict=True):
            seen.setdefault(row, []).append(image)
    again = [images for images in seen.values() if len(images) > 2]
    assert again
    assert all(not torch.equal(images[0], images[1]) for images in again)


def test_rows_are_drawn_by_a_column_of_weights(write: Callable[..., Path]) -> None:
    made = data(write([f"a {i}" for i in range(40)], often=[4.0, 0.0] * 20), sampler="weighted", weight_column="often", batch_size=4)
    rows = made.rows("train")
    said = [rows[[(0, row)]][0][2].captions[0] for batch in made.train_dataloader() for row in batch["row"].tolist()]
    assert {int(text.split()[1]) % 2 for text in said} == {0}


def test_a_weight_column_without_its_sampler_is_refused(write: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"weight_column often serves the sampler weighted"):
        data(write(["a"] * 12, often=[1.0] * 12), weight_column="often")


def test_images_kept_decoded_are_cropped_as_those_of_the_files(write: Callable[..., Path]) -> None:
    table = write([f"a {i}" for i in range(12)])
    plain, kept = (data(table, decoded=decoded, crop_scale=(0.3, 1.0)) for decoded in (False, True))
    for one, other in zip(plain.train_dataloader(), kept.train_dataloader(), strict=True):
        assert torch.equal(one["images"], other["images"])  # these are small, and kept as they are
        assert one["row"].tolist() == other["row"].tolist()
    assert kept.sights.decoded is not None
