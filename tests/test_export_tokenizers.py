"""Tokenizers in other libraries' form give open_clip's ids."""

from pathlib import Path

import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from cliptune.errors import ExportError
from cliptune.export.tokenizers import as_json, of_transformers

TEXTS = ["a photo of a cat.", "What?! It's 3 o'clock -- really!", "UPPER  case\n and\ttabs", "", "Ünïcödé, 日本語 ok", "word " * 40, "!!"]


@pytest.mark.parametrize("length", [16, 77])
def test_byte_pairs_are_open_clips(length: int, tmp_path: Path) -> None:
    ours = SimpleTokenizer(context_length=length)
    expected = ours(TEXTS)
    alone = Tokenizer.from_str(as_json(ours))
    assert torch.equal(torch.tensor([found.ids for found in alone.encode_batch(TEXTS)]), expected)
    of_transformers(ours).save_pretrained(tmp_path)
    found = AutoTokenizer.from_pretrained(tmp_path)(TEXTS, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    ends = expected.argmax(dim=1)  # the last token has the greatest id
    for ids, row, end in zip(found, expected, ends.tolist(), strict=True):
        assert torch.equal(ids[: end + 1], row[: end + 1])
        assert set(ids[end + 1 :].tolist()) <= {49407}


@pytest.mark.parametrize("clean", ["whitespace", "lower", "canonicalize"])
def test_a_wrapped_tokenizer_cleans_as_open_clip_does(clean: str, tmp_path: Path) -> None:
    known = ["[UNK]", "[PAD]", *"abcdefghijklmnopqrstuvwxyz_!?.,'- WUPEITR0123456789"]
    letters = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(known)}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=letters, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    ours = HFTokenizer(str(tmp_path), context_length=24, clean=clean)
    texts = ["a photo_of a cat.", "What?!  It's", "  UPPER\n case "]
    expected = ours(texts)
    alone = Tokenizer.from_str(as_json(ours))
    assert torch.equal(torch.tensor([found.ids for found in alone.encode_batch(texts)]), expected)
    found = of_transformers(ours)(texts, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
    assert torch.equal(found, expected)
    assert torch.equal(ours(texts), expected)  # which is as it was


def test_a_tokenizer_of_another_kind_is_refused() -> None:

    with pytest.raises(ExportError, match="the tokenizer function has no form in transformers"):
        of_transformers(lambda texts: torch.zeros(1, 1))
