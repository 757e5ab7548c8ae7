"""What a command has libraries do before anything else: import little, and say little."""

import logging
import sys
import warnings

from cliptune.lean import import_lean


def quiet() -> None:
    """Let our own lines stand out: libraries' tips and notes on their own insides are left out, warnings stay.

    It comes before the imports of whatever else a command needs.
    """
    import_lean()
    import datasets

    from cliptune.processes import is_main

    logging.basicConfig(level=logging.ERROR)
    logging.getLogger().addFilter(_is_news)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("huggingface_hub").propagate = False  # it has a handler of its own, and would say each line twice
    ours = logging.getLogger("cliptune")
    ours.setLevel(logging.INFO)
    ours.handlers = [logging.StreamHandler(sys.stdout)] if is_main() else [logging.NullHandler()]
    ours.propagate = False
    for category in (FutureWarning, DeprecationWarning, UserWarning):
        warnings.filterwarnings("ignore", category=category, module=r"(lightning|torch|open_clip|jsonargparse|timm)\b.*")
    if not sys.stdout.isatty():
        datasets.disable_progress_bars()


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the root logger is not open_clip's on weights, which our own error holds too."""
    return not str(record.msg).startswith("Failed to download weights")
