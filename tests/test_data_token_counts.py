"""Token counts are those of the tokenizer before it cuts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, SimpleTokenizer
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from cliptune.data.texts.token_counts import context_of, token_count, token_counts, truncated_share

TEXTS = ["a photo of a cat.", "", " ", "What?! It's 3 o'clock -- really!", "UPPER  Case\n\n tab\t z", "word " * 200, "!!!!", "a-b_c 3,000"]
ODD = ["a&amp;b &lt;i", "x\x1b[31mred\x1b[0m y", "don’t “stop”", "schÃ¶n", "<end_of_text> a", "ΣΑΣ", "\u2028x", "ﬁne ＡＢ", "日本"]  # noqa: RUF001


def wrapped(folder: Path, **options: object) -> HFTokenizer:
    """A tokenizer of letters in open_clip's wrapper, which puts one token before and one after."""
    known = ["[UNK]", "[PAD]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz.'"]
    letters = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(known)}, unk_token="[UNK]"))
    letters.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")])
    letters.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "bos_token": "[CLS]", "eos_token": "[SEP]", "cls_token": "[CLS]"}
    PreTrainedTokenizerFast(tokenizer_object=letters, **special).save_pretrained(folder)
    return HFTokenizer(str(folder), context_length=16, **options)


@pytest.mark.parametrize("clean", ["lower", "whitespace", "canonicalize"])
def test_counts_are_those_of_the_whole_text(clean: str) -> None:
    tokenizer = SimpleTokenizer(clean=clean)
    expected = [len(tokenizer.encode(text)) + 2 for text in TEXTS + ODD]
    assert token_counts(tokenizer, TEXTS + ODD).tolist() == expected
    assert [token_count(tokenizer, text) for text in TEXTS + ODD] == expected


def test_a_count_above_the_context_is_what_the_tokenizer_cuts() -> None:
    tokenizer = SimpleTokenizer(context_length=12)
    texts = ["cat " * n for n in range(8, 13)]
    ends = [row.tolist().index(tokenizer.eot_token_id) + 1 for row in tokenizer(texts)]
    counts = token_counts(tokenizer, texts)
    assert counts.tolist() == [10, 11, 12, 13, 14]
    assert np.minimum(counts, 12).tolist() == ends


def test_a_hugging_face_tokenizer_counts_its_special_tokens(tmp_path: Path) -> None:
    tokenizer = wrapped(tmp_path)
    before = tokenizer(["abc"])
    assert token_counts(tokenizer, ["abc", "", "ab c " * 20, "abc", "  a  "]).tolist() == [5, 2, 62, 5, 3]
    assert torch.equal(tokenizer(["abc"]), before)  # it cuts and pads as it did


def test_what_open_clip_adds_itself_counts(tmp_path: Path) -> None:
    tokenizer = wrapped(tmp_path, tokenizer_mode="clips")
    counts = token_counts(tokenizer, ["abc", "a" * 13, "a" * 14])
    rows = tokenizer(["a" * 13, "a" * 14])
    assert counts.tolist() == [6, 16, 17]
    assert torch.equal(rows[0], rows[1])  # so 13 letters fit, and 14 do not


def test_siglips_own_wrapper_is_read_without_its_punctuation(tmp_path: Path) -> None:
    tokenizer = SigLipTokenizer.__new__(SigLipTokenizer)  # its constructor asks the network for a vocabulary
    tokenizer.tokenizer, tokenizer.context_length = wrapped(tmp_path).tokenizer, 16
    assert token_counts(tokenizer, ["A b.c!"]).tolist() == [5]
    assert int((tokenizer(["A b.c!"]) != 1).sum()) == 5


def test_an_unknown_tokenizer_is_called() -> None:
    rows = {"a": [5, 0, 6, 0], "b": [0, 0, 0, 0], "c": [1, 2, 3, 4]}
    assert token_counts(lambda texts: torch.tensor([rows[text] for text in texts]), ["c", "a", "b", "a"]).tolist() == [4, 3, 0, 3]


def test_shares_and_contexts() -> None:
    assert truncated_share(np.array([77, 78, 2, 300], dtype=np.int32), 77) == 0.5
    assert truncated_share(token_counts(SimpleTokenizer(), []), 77) == 0.0
    assert [context_of(SimpleTokenizer(context_length=n)) for n in (16, None)] == [16, 77]
