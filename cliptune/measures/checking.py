"""Before training: whether all that is to be measured at the end can be, so that nobody waits for hours for an error."""

from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError
from cliptune.evaluate import Bias, Evaluate
from cliptune.measures.composition_files import open_pairs
from cliptune.measures.crops import check_images
from cliptune.measures.groups import KEY, read_groups
from cliptune.measures.made_pairs import SWAP, made_pairs


def check_measures(evaluate: Evaluate, data: ImageTextData) -> None:
    """Refuse what cannot be measured.

    Args:
        evaluate: the section `evaluation`.
        data: set up.

    Raises:
        DataError: a file or column that is not there or does not fit; no captions to swap; no images to crop.
        ConfigError: words or a template that cannot be compared.
    """
    if evaluate.crops is not None:
        check_images(data)
    for source in evaluate.composition:
        if source == SWAP:
            made_pairs(data, most=1)
        else:
            open_pairs(source)
    if evaluate.bias is not None:
        read_groups(data, evaluate.bias.column)
        check_words(evaluate.bias, data)


def check_words(bias: Bias, data: ImageTextData) -> None:
    """Refuse words that cannot be compared.

    Raises:
        ConfigError: there are fewer than two, one comes twice, or the template has no place for them.
    """
    if "{}" not in bias.template:
        raise ConfigError(f"{KEY}: template {bias.template!r} has no {{}} for the word. Write it as 'a photo of {{}}'.")
    words = list(bias.words) or list(data.class_names)
    twice = next((word for i, word in enumerate(words) if word in words[:i]), None)
    if twice is not None:
        raise ConfigError(f"{KEY}: words has {twice!r} twice. Leave one out.")
    if len(words) < 2:
        said = f"words has {len(words)}" if bias.words else "words is empty, and the data has no classes"
        raise ConfigError(f"{KEY}: {said}. A word is compared with others: give two or more.")
