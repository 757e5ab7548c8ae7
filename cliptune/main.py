"""The program's entry: the first word decides, and help is answered before anything heavy is imported."""

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from cliptune import __version__
from cliptune.errors import CliptuneError, DataError, Stopped, UnreachableError, did_you_mean
from cliptune.help import COMMANDS, PROGRAM, SCREENS
from cliptune.launcher import launched_rank


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the words after `cliptune`; those of the process where not given.

    Returns:
        The exit status: 0 for success, 2 for a mistake of the user, told in one line; 130 when interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(PROGRAM)
        return 0
    if words[0] in ("-V", "--version", "version"):
        print(f"cliptune {__version__}")
        return 0
    command = words[0]
    if command not in SCREENS:
        print(f"cliptune: there is no command {command}. {did_you_mean(command, SCREENS)}", file=sys.stderr)
        return 2
    if any(word in ("-h", "--help") for word in words[1:]):
        print(SCREENS[command])
        return 0
    try:
        _run(command, words)
    except CliptuneError as error:
        kind = "" if isinstance(error, Stopped) else f"{type(error).__name__}: "
        print(f"{_rank()}{kind}{_with_way(error, words)}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away: not our mistake
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _run(command: str, words: list[str]) -> None:
    """Commands with a config are the trainer's; `predict MODEL ...`, which names a model and no config, is not."""
    if command in COMMANDS and not (command == "predict" and len(words) > 1 and not words[1].startswith("-")):
        from cliptune.lean import import_lean

        import_lean()
        from cliptune.launch import run

        run(words)
    else:
        import_module(f"cliptune.commands.{command}").run(words[1:])


def _with_way(error: CliptuneError, words: list[str]) -> str:
    """The error, with the way out that a recipe has: an overlay where the network lacks, where the data is from that lacks."""
    from cliptune.shipped import data_source, offline_overlay

    if isinstance(error, UnreachableError) and (overlay := offline_overlay(words)):
        return f"{error} Without network: add --config {overlay}."
    if isinstance(error, DataError) and error.missing and (source := data_source(error.missing, words)):
        return f"{error.fact} {source}"
    return str(error)


def _rank() -> str:
    """What goes before an error of a process that is not the first: a moment, in which the first one tells it for all and ends them."""
    number = launched_rank()
    if number == 0:
        return ""
    time.sleep(2)
    return f"process {number}: "
