"""What is told as zero-shot is the untouched CLIP, whatever a method starts from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import plain, run

OTHER_STARTS: dict[str, dict[str, Any]] = {  # methods that do not begin as CLIP
    "a probe from nothing": {"method": "LinearProbe", "method.start": "zero"},
    "random words": {"method": "PromptTuning", "method.init": "random", "method.words": 4},
    "image prompts": {"method": "PromptTuning", "method.towers": "both"},
}
SHORT = ["--trainer.max_epochs", "1", "--run.pictures", "false", "--run.report", "false", "--model.objective", "CrossEntropy"]


def words(arguments: dict[str, Any]) -> list[str]:
    return [word for name, value in arguments.items() for word in (f"--model.{name}", str(value))]


@pytest.mark.parametrize("start", OTHER_STARTS)
def test_zero_shot_is_the_untouched_clip_whatever_a_method_starts_from(config: Path, start: str) -> None:
    untouched = run("test", "--config", str(config), "--model.objective", "CrossEntropy")["zero_shot"]
    arguments = words(OTHER_STARTS[start])
    tested = run("test", "--config", str(config), "--model.objective", "CrossEntropy", *arguments)
    assert tested["zero_shot"] == pytest.approx(untouched, abs=1e-5)
    fitted = run("fit", "--config", str(config), *SHORT, *arguments)
    assert plain(fitted["zero_shot"], "test") == pytest.approx(untouched, abs=1e-5)
    assert plain(fitted["adapted"], "test")["test/nll"] != pytest.approx(untouched["test/nll"], abs=1e-3)


def test_a_start_that_is_no_clip_says_otherwise(config: Path) -> None:
    """So that the test above would fail without the untouched CLIP: at the first step's rate of nothing the start is what is adapted."""
    still = ["--model.optimizer.init_args.lr", "0", "--model.optimizer.init_args.weight_decay", "0"]
    fitted = run("fit", "--config", str(config), *SHORT, *words(OTHER_STARTS["a probe from nothing"]), *still)
    classes = 10
    assert fitted["adapted"]["test/nll"] == pytest.approx(np.log(classes), abs=1e-4)  # rows of zero say the same of all classes
    assert fitted["zero_shot"]["test/nll"] != pytest.approx(np.log(classes), abs=1e-3)


def test_what_is_solved_is_validated_however_seldom_validation_is(config: Path) -> None:
    solved = ["--model.method", "LinearProbe", "--model.method.solver", "lbfgs", "--trainer.check_val_every_n_epoch", "5"]
    fitted = run("fit", "--config", str(config), *SHORT, *solved, "--trainer.max_epochs", "20")
    assert fitted["adapted"]["val/top1"] > fitted["zero_shot"]["val/top1"]
