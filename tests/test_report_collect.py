"""What is kept of the data for a report: the images and texts that it shows, under their places, small, and no others."""

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from feature_files import arrays, npz, opened
from made_data import data, write  # noqa: F401
from PIL import Image
from report_answers import class_answers, retrieval_answers
from report_measures import EVIL

from cliptune.metrics.answers import Answers
from cliptune.report.collect import LETTERS, SIDE, collect_examples, wanted
from cliptune.report.reading import read_run


def test_what_is_shown_is_kept_with_its_texts(write: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    splits = ["train"] * 4 + ["validation"] * 2 + ["test"] * 6
    captions = [[f"caption {i} {n}" for n in range(2)] for i in range(11)] + [[EVIL, "x" * 1000]]
    made = data(write(captions, split=splits))
    after = Answers(None, retrieval_answers(6, 2, 0.3))
    file = collect_examples(tmp_path, made, Answers(None, None), after)
    kept = json.loads(file.read_text(encoding="utf-8"))
    images, texts = wanted(Answers(None, None), after)
    assert set(kept["pictures"]) == set(kept["names"]) == {str(number) for number in images}
    assert set(kept["texts"]) == {str(place) for place in texts}
    for place, text in kept["texts"].items():
        own = captions[6 + int(place) // 2][int(place) % 2]
        assert text == own or (text[:-1] == own[: LETTERS - 1] and len(text) == LETTERS)
    assert kept["names"]["0"] == "6.png"
    assert kept["captions"]["5"][0] == EVIL
    picture = Image.open(io.BytesIO(base64.b64decode(kept["pictures"]["0"])))
    assert max(picture.size) <= SIDE


def test_classes_are_kept_by_name_with_the_images_that_training_had(write: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    labels = ["cat", "dog", "cat", "dog", "cat", "cat"] + ["cat", "dog"] * 4
    made = data(write(labels, "label", split=["train"] * 6 + ["validation"] * 4 + ["test"] * 4), needs="classes")
    collect_examples(tmp_path, made, Answers(None, None), Answers(class_answers(4, 2, 0.1), None))
    kept = json.loads((tmp_path / "evaluation" / "examples.json").read_text(encoding="utf-8"))
    assert (kept["classes"], kept["train_counts"]) == (["cat", "dog"], [4, 2])
    (tmp_path / "summary.json").write_text("{}", encoding="utf-8")
    assert read_run(tmp_path).examples.name(1) == "dog"


def test_data_of_vectors_gives_texts_and_no_pictures(tmp_path: Path) -> None:
    made = opened(npz(tmp_path, arrays()))
    count = len(made.rows("test"))
    answers = class_answers(count, len(made.class_names), 0.0)
    answers.top[:, 0] = (answers.label + 1) % answers.classes
    kept = json.loads(collect_examples(tmp_path, made, Answers(None, None), Answers(answers, None)).read_text(encoding="utf-8"))
    assert (kept["pictures"], len(kept["names"])) == ({}, count)


def test_a_picture_that_cannot_be_read_is_left_out(write: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    made = data(write(["cat", "dog"] * 6, "label", split=["train"] * 4 + ["validation"] * 2 + ["test"] * 6), needs="classes")
    (tmp_path / "pictures" / "7.png").write_bytes(b"no image")
    answers = class_answers(6, 2, 0.0)
    answers.top[:, 0] = 1 - answers.label
    answers.number = torch.from_numpy(np.arange(6))
    kept = json.loads(collect_examples(tmp_path, made, Answers(None, None), Answers(answers, None)).read_text(encoding="utf-8"))
    assert set(kept["names"]) - set(kept["pictures"]) == {"1"}
