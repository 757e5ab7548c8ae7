"""Answers as files: the same when read again, without what would be too much, and refused where they are damaged."""

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from answers import guesses, heard

from cliptune.errors import CheckpointError
from cliptune.metrics.answers import Answers
from cliptune.outcomes import read_answers, write_answers


@pytest.mark.parametrize("parts", ["classes", "captions", "both"])
def test_answers_are_the_same_when_read_again(tmp_path: Path, parts: str) -> None:
    logits, label = guesses(12, 7, 0.5)
    rows = (torch.randn(12, 4), torch.randn(24, 4), torch.arange(24) // 2)
    answers = {"classes": heard(logits, label), "captions": heard(None, label, *rows), "both": heard(logits, label, *rows)}[parts]
    write_answers(tmp_path / "evaluation" / "adapted.safetensors", answers)
    again = read_answers(tmp_path / "evaluation" / "adapted.safetensors")
    for before, after in zip(answers, again, strict=True):
        assert (before is None) == (after is None)
        for field in fields(before) if before is not None else ():
            was, now = getattr(before, field.name), getattr(after, field.name)
            if field.name == "probabilities":
                assert was.shape == (12, 7)
                assert now is None
            elif isinstance(was, torch.Tensor):
                assert torch.equal(was, now), field.name
            else:
                assert was == now, field.name


def test_answers_of_nothing_are_nothing(tmp_path: Path) -> None:
    write_answers(tmp_path / "a.safetensors", Answers(None, None))
    assert read_answers(tmp_path / "a.safetensors") == Answers(None, None)


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write_answers(file, heard(*guesses(3, 2, 1.0)))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match=r"a.safetensors is not read: .*Run cliptune test again") as caught:
        read_answers(file)
    assert "\n" not in str(caught.value)
