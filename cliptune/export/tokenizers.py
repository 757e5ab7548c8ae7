"""Tokenizers for other libraries: open_clip's byte-pair encoding in the form of `tokenizers`, or the Hugging Face one that it wraps."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import transformers
from open_clip.tokenizer import HFTokenizer, SimpleTokenizer
from torch import Tensor

from cliptune.errors import ExportError


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
    if hasattr(inner, "save_pretrained"):
        inner.model_max_length = length  # type: ignore[union-attr]
        return inner
    if type(tokenizer) is not SimpleTokenizer:
        raise ExportError(f"the tokenizer {type(tokenizer).__name__} has no form in transformers. Use --format open_clip.")
    by_number = {number: word for word, number in tokenizer.encoder.items()}
    first, last = by_number[tokenizer.sot_token_id], by_number[tokenizer.eot_token_id]
    merges = list(tokenizer.bpe_ranks)
    return transformers.CLIPTokenizer(
        vocab=dict(tokenizer.encoder), merges=merges, unk_token=last, bos_token=first, eos_token=last, pad_token=last, model_max_length=length
    )


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
