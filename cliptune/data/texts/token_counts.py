"""How many tokens texts have before anything is cut off, start and end included.

open_clip's own tokenizers only give rows that are cut to the context already; this asks what lies within them.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from open_clip.tokenizer import SimpleTokenizer, basic_clean, canonicalize_text
from torch import Tensor

MOST_WORDS = 1_000_000  # that are remembered, about 100 MB
CHUNK = 4096  # texts in a call of a Hugging Face tokenizer

Tokenizer = Callable[..., Tensor]


def context_of(tokenizer: Tokenizer) -> int:
    """The most tokens of a text that the tokenizer keeps."""
    return int(getattr(tokenizer, "context_length", None) or 77)  # Radford et al. 2021, sec. 2.4: 76 words and an end


def hugging_face(tokenizer: Tokenizer) -> Any | None:
    """The tokenizer of transformers that open_clip's wraps; None where there is none."""
    inner = getattr(tokenizer, "tokenizer", None)
    return inner if hasattr(inner, "convert_ids_to_tokens") else None


def cleaned(tokenizer: Tokenizer, text: str) -> str:
    """A text as the tokenizer reads it: open_clip mends, strips and perhaps lowers texts first."""
    clean: Callable[[str], str] = getattr(tokenizer, "clean_fn", lambda text: canonicalize_text(basic_clean(text)))
    return clean(text)


class TokenCounter:
    """Counts the tokens of texts, and remembers the words of byte-pair encodings.

    A tokenizer of an unknown kind is called, and what it returns is counted up to the padding of zeros, which is never above its context.

    Args:
        tokenizer: open_clip's.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self._words: dict[str, int] = {}

    def count(self, text: str) -> int:
        """The tokens of one text, start and end included."""
        return self._count_pairs(text) if isinstance(self.tokenizer, SimpleTokenizer) else int(self._count_rows([text])[0])

    def counts(self, texts: Sequence[str]) -> npt.NDArray[np.int32]:
        """The tokens of each text, [N]; equal texts are read once."""
        number: dict[str, int] = {}
        inverse = [number.setdefault(text, len(number)) for text in texts]
        if isinstance(self.tokenizer, SimpleTokenizer):
            found: list[int] = [self._count_pairs(text) for text in number]
        else:
            distinct = list(number)
            found = [n for i in range(0, len(distinct), CHUNK) for n in self._count_rows(distinct[i : i + CHUNK])]
        return np.array(found, dtype=np.int32)[inverse] if inverse else np.zeros(0, np.int32)

    def _count_pairs(self, text: str) -> int:
        """Of a byte-pair encoding: no token goes past a blank, so that plain texts can be counted word by word."""
        if not text.isascii() or "&" in text or not text.isprintable():  # else open_clip's mending of texts does nothing
            text = str(cleaned(self.tokenizer, text))
        if len(self._words) > MOST_WORDS:
            self._words.clear()
        total = 2
        for word in text.split():
            if (count := self._words.get(word)) is None:
                count = self._words[word] = len(self.tokenizer.encode(word))  # type: ignore[attr-defined]
            total += count
        return total

    def _count_rows(self, texts: list[str]) -> list[int]:
        inner = hugging_face(self.tokenizer)
        if inner is None:
            return [max((i for i, token in enumerate(row, 1) if token != 0), default=0) for row in self.tokenizer(texts).tolist()]
        clips = getattr(self.tokenizer, "tokenizer_mode", "") == "clips"  # three special tokens, which open_clip adds itself
        ids = inner(
            [cleaned(self.tokenizer, text) for text in texts],
            add_special_tokens=not clips,
            truncation=False,
            padding=False,
            return_attention_mask=False,
            verbose=False,  # of texts past the model's length, which are what is looked for
        )["input_ids"]
        return [len(row) + 3 * clips for row in ids]


def token_count(tokenizer: Tokenizer, text: str) -> int:
    """The tokens of a text before anything is cut off, start and end included."""
    return TokenCounter(tokenizer).count(text)


def token_counts(tokenizer: Tokenizer, texts: Sequence[str]) -> npt.NDArray[np.int32]:
    """The tokens of each text before anything is cut off, start and end included, [N]."""
    return TokenCounter(tokenizer).counts(texts)


def truncated_share(counts: npt.NDArray[np.int32], context: int) -> float:
    """The share of texts that lose their ends; 0 for no texts."""
    return float((counts > context).mean()) if len(counts) else 0.0
