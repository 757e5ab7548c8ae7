"""The errors that a user can cause: each prints as one line that names the value, the rule and the way out.

Everything else that is raised is a bug and keeps its traceback. Imports nothing heavy.
"""

from collections.abc import Iterable
from difflib import SequenceMatcher


class CliptuneError(Exception):
    """Base of all errors that the user can mend."""

    status = 2  # of the program


class ConfigError(CliptuneError):
    """A key, name or combination in the configuration is wrong."""


class DataError(CliptuneError):
    """The data does not hold what the configuration says.

    Args:
        fact: the message, but for `near`.
        near: what may have been meant; it gives way to a better way out.
        missing: the path where nothing lies, where that is what is wrong.
    """

    def __init__(self, fact: str, near: str = "", missing: str = "") -> None:
        super().__init__(f"{fact} {near}".rstrip())
        self.fact, self.near, self.missing = fact, near, missing


class UnreachableError(CliptuneError):
    """Something is wanted of the network, which is not there."""


class CheckpointError(CliptuneError):
    """A checkpoint does not fit the model, or is not one."""


class ExportError(CliptuneError):
    """What was learned cannot be written in the wanted form."""


class TrainingError(CliptuneError):
    """Training went wrong in a way that going on would only hide."""


class Stopped(CliptuneError):  # noqa: N818 - no error
    """Training was asked to stop, and has; no mistake, and the status is that of a program that the signal ended."""

    def __init__(self, message: str, status: int = 130) -> None:
        super().__init__(message)
        self.status = status


def did_you_mean(word: str, options: Iterable[str], most: int = 8) -> str:
    """Say which of the options is meant, or which there are.

    Args:
        word: what the user wrote.
        options: what would have been right.
        most: how many options to list when none is near.

    Returns:
        One sentence, such as `Did you mean ViT-B-32?`, or `` when there are no options.
    """
    names = [str(option) for option in options]
    near = nearest(word, names)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    if not names:
        return ""
    listed = ", ".join(names[:most]) + (f", ... ({len(names)} in all)" if len(names) > most else "")
    return f"There is: {listed}."


def nearest(word: str, names: list[str]) -> list[str]:
    """Up to three names that are near, and nearly as near as the nearest."""
    ratios = {name: SequenceMatcher(None, word.lower(), name.lower()).ratio() for name in names}
    best = max(ratios.values(), default=0.0)
    near = [name for name, ratio in ratios.items() if ratio >= max(0.6, best - 0.05)]
    return sorted(near, key=lambda name: -ratios[name])[:3]
