"""What makes a command of the docs one of seconds, and leaves it the command that it is."""

import os
import subprocess
import sys
from pathlib import Path

from doc_commands import ROOT
from docs_folder import BRIEF

from cliptune.main import main

FITS = ("fit", "test", "sweep")
SHORT = {"export": "--samples 4", "doctor": "--zero-shot 12", "init": "--images 12"}
SWEPT = "--methods linear_probe,lora --shots 2 --seeds 1"
ONE_SEED = "[1]"
ON_NANO = {
    "cliptune init --path my_images/ --output mine.yaml": "--name nano",
    "cliptune fit --config mine/folder.yaml": "--model.backbone.name nano --model.backbone.pretrained null",
}  # marked as needing the network, for weights alone: with these words, which pages and files name, they need none
LIMIT = 600  # seconds for two processes, beside other tests on two cores


def shortened(words: list[str]) -> list[str]:
    """The command line, as it is run here.

    Args:
        words: `cliptune` and what follows.

    Returns:
        What follows `cliptune`, patterns of files replaced by the files.
    """
    command, given = words[1], [*words[1:], *ON_NANO.get(" ".join(words), "").split()]
    if "--help" in words:
        return given
    given += SHORT.get(command, "").split()
    if command in FITS:
        epochs = f" --trainer.max_epochs {2 if 'last' in words else 1}" if command != "test" else ""
        given += f"{BRIEF}{epochs}".split()
    if command == "sweep":
        given += SWEPT.split()
    elif "--seeds" in given:
        given[given.index("--seeds") + 1] = ONE_SEED
    return [file for word in given for file in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]


def run_command(words: list[str]) -> int:
    """Run a command, shortened, and give its status.

    Args:
        words: `cliptune` and what follows.
    """
    given = shortened(words)
    if not any(word.startswith("scale/") for word in words):
        return main(given)
    # Lightning starts a second process by the words of this one, which are pytest's, and leaves where they meet in its environment
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-m", "cliptune", *given], env=environment, timeout=LIMIT, check=False).returncode
