"""Tokenizers for other libraries: open_clip's byte-pair encoding in the form of `tokenizers`, or the Hugging Face one that it wraps."""

import copy
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from tokenizers import Regex, normalizers
from torch import Tensor

from cliptune.errors import ExportError

_SPACES = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
CLEANING = {  # open_clip's, by name, less `ftfy` and HTML entities
    "whitespace": _SPACES,
    "lower": [normalizers.Lowercase(), *_SPACES],
    "canonicalize": [
        normalizers.Replace("_", " "),
        normalizers.Replace(Regex(f"[{re.escape(string.punctuation)}]"), ""),
        normalizers.Lowercase(),
        *_SPACES,
    ],
}


def save_pretrained(tokenizer: Callable[..., Tensor], folder: Path) -> None:
    """Write the files of a Hugging Face tokenizer, where open_clip's is one; its own byte-pair encoding needs none."""
    inner = getattr(tokenizer, "tokenizer", None)
    if isinstance(tokenizer, HFTokenizer) or hasattr(inner, "save_pretrained"):
        inner.save_pretrained(str(folder))  # type: ignore[union-attr]


def of_transformers(tokenizer: Callable[..., Tensor]) -> Any:
    """The tokenizer in transformers' form, which gives the same ids for texts in plain writing.

    open_clip also mends broken Unicode and HTML entities (`ftfy`), which this one does not; it pads with 0, this one with the last token,
    which a causal tower does not see.

    Raises:
        ExportError: it is of a kind that has no such form.
    """
    length = _length(tokenizer)
    inner = getattr(tokenizer, "tokenizer", None)
    if isinstance(tokenizer, HFTokenizer):
        return _of_hf(tokenizer, length)
    if hasattr(inner, "save_pretrained"):
        inner.model_max_length = length  # type: ignore[union-attr]
        return inner
    if not isinstance(tokenizer, SimpleTokenizer):
        raise ExportError(f"the tokenizer {type(tokenizer).__name__} has no form in transformers. Use --format open_clip.")
    by_number = {number: word for word, number in tokenizer.encoder.items()}
    first, last = by_number[tokenizer.sot_token_id], by_number[tokenizer.eot_token_id]
    special = {"unk_token": last, "bos_token": first, "eos_token": last, "pad_token": last}
    return transformers.CLIPTokenizer(vocab=dict(tokenizer.encoder), merges=list(tokenizer.bpe_ranks), model_max_length=length, **special)


def _of_hf(tokenizer: HFTokenizer, length: int) -> Any:
    """The inner tokenizer, with open_clip's cleaning of texts as part of it."""
    if tokenizer.tokenizer_mode or tokenizer.strip_sep_token:
        raise ExportError("this backbone's tokenizer puts special tokens in a way of its own. Use --format open_clip.")
    found = copy.deepcopy(tokenizer.tokenizer)
    found.model_max_length = length
    before = getattr(found, "backend_tokenizer", None)
    steps = CLEANING[tokenizer.clean_fn.__name__.removeprefix("_clean_")]
    if before is None:
        raise ExportError(f"the tokenizer {type(found).__name__} is of Python, and open_clip's cleaning cannot be put into it.")
    before.normalizer = normalizers.Sequence([*steps, *([before.normalizer] if before.normalizer is not None else [])])
    return found


def as_json(tokenizer: Callable[..., Tensor]) -> str:
    """The text of a `tokenizer.json`, which the library `tokenizers` reads alone: padded and cut to the context, as open_clip's is.

    Raises:
        ExportError: it is of a kind that has no such form.
    """
    found, length = of_transformers(tokenizer), _length(tokenizer)
    backend = found.backend_tokenizer
    padding = 0 if type(tokenizer) is SimpleTokenizer else int(found.pad_token_id)
    backend.enable_truncation(max_length=length)
    backend.enable_padding(length=length, pad_id=padding, pad_token=found.convert_ids_to_tokens(padding))
    return str(backend.to_str())


def _length(tokenizer: Callable[..., Tensor]) -> int:
    return int(getattr(tokenizer, "context_length", None) or 77)  # Radford et al. 2021, sec. 2.4: 76 words and an end
