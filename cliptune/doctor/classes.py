"""What the classes and the language of the texts are like."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from cliptune.data.images import ImageTextData
from cliptune.data.texts.languages import cut_words, main_script, multilingual_backbones, tells
from cliptune.data.texts.token_counts import token_counts
from cliptune.doctor.gathered import SplitRows
from cliptune.doctor.text_findings import ClassFacts, CutName, LanguageFacts
from cliptune.preprocess import Preprocess

MOST_TEXTS = 20_000  # distinct ones, evenly spaced, that the language is told from
FOREIGN = 0.02  # of the texts broken into bytes, from which on other backbones are named


def look_at_classes(data: ImageTextData, rows: dict[str, SplitRows], preprocess: Preprocess) -> ClassFacts:
    """Say how the classes are spread, and which of their names the tokenizer cuts."""
    found = ClassFacts(names=list(data.class_names))
    counts = {name: Counter(label for labels in split.labels for label in labels) for name, split in rows.items()}
    found.only_in = {name: sorted(set(count) - set(counts["train"])) for name, count in counts.items() if set(count) - set(counts["train"])}
    if not found.names:
        return found
    for name, count in counts.items():
        missing = [found.names[i] for label, i in data.class_number.items() if not count[label]]
        if missing:
            found.absent[name] = missing
    sizes = np.array([counts["train"][label] for label in data.class_number if counts["train"][label]], np.float64)
    if len(sizes):
        shares = sizes / sizes.sum()
        found.imbalance, found.largest_share = float(sizes.max() / sizes.min()), float(shares.max())
        found.effective = float(np.exp(-(shares * np.log(shares)).sum()))
    cut = cut_words(preprocess.tokenizer, found.names)
    found.cut = sorted((CutName(name, pieces) for name, pieces in cut.items()), key=lambda one: -len(one.pieces))
    return found


def look_at_language(texts: Sequence[str], preprocess: Preprocess) -> LanguageFacts:
    """Say which scripts the texts are in, and whether the tokenizer breaks them into bytes.

    Args:
        texts: distinct ones.
        preprocess: the backbone's.
    """
    if not texts:
        return LanguageFacts()
    texts = texts[:: max(len(texts) // MOST_TEXTS, 1)]
    told = tells(preprocess.tokenizer, texts)
    scripts = Counter(main_script(text) for text in texts)
    counts = token_counts(preprocess.tokenizer, ["", *texts])
    words = sum(len(text.split()) for text in texts)
    found = LanguageFacts({script: count / len(texts) for script, count in scripts.most_common()})
    found.tokens_per_word = float((counts[1:] - counts[0]).sum() / max(words, 1))
    found.broken, found.example = told.share, next(iter(told.examples), "")
    if told.share >= FOREIGN:
        found.backbones = [f"{name}:{tag}" for name, tag in multilingual_backbones()]
    return found
