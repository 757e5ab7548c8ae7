"""What was forgotten: guards are scored as splits are, untouched once and adapted at every evaluation, and cost little."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pandas as pd
import pytest
import torch
from guard_sources import COLOURS, DIGITS, TEMPLATE

import cliptune
from cliptune import AdaptModule, Backbone, CrossEntropy, Full, ImageTextData, LinearProbe, LoRA, PromptTuning
from cliptune.errors import ConfigError, DataError
from cliptune.fixed import Room
from cliptune.guard_sets import guard_sets
from cliptune.guards import Guards, opened
from cliptune.preprocess import Preprocess

pytest_plugins = ["guard_sources"]


class Validated:
    """A module on the digits, and validations of it."""

    def __init__(self, backbone: str, method: cliptune.Method, guard: Any) -> None:
        self.module = AdaptModule(Backbone(backbone), method, CrossEntropy())
        self.module.guards = Guards(guard_sets(guard))
        self.data = ImageTextData(
            "digits", preprocess=self.module.preprocess, needs="classes", templates=[TEMPLATE], workers=0, cache=False
        )
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        self.trainer = L.Trainer(accelerator="cpu", use_distributed_sampler=False, **quiet)  # type: ignore[arg-type]

    def __call__(self, untouched: bool = False) -> dict[str, float]:
        self.module.untouched = untouched
        return dict(self.trainer.validate(self.module, self.data, verbose=False)[0])

    @torch.no_grad()
    def move(self, amount: float = 0.3) -> None:
        """Move what learns, as training would."""
        generator = torch.Generator().manual_seed(0)
        for p in self.module.parameters():
            if p.requires_grad:
                p += amount * torch.randn(p.shape, generator=generator)


def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts what is encoded and decoded from now on."""
    found: Counter[str] = Counter()

    def counting(kind: type, name: str) -> None:
        original = getattr(kind, name)

        def call(self: Any, first: Any, *more: Any) -> Any:
            found[name] += len(first) if isinstance(first, torch.Tensor) else 1
            return original(self, first, *more)

        monkeypatch.setattr(kind, name, call)

    for name in ("encode_image", "encode_text"):
        counting(Backbone, name)
    counting(Preprocess, "decode")
    return found


@pytest.mark.parametrize("method", [partial(LoRA, rank=2), LinearProbe, partial(PromptTuning, towers="both")])
def test_a_guard_of_the_validation_images_has_the_metrics_of_validation(tiny: dict[str, str], method: Any) -> None:
    validated = Validated(tiny["vit"], method(), DIGITS)
    validated(untouched=True)
    validated.move()
    found = validated()
    own = {name.removeprefix("val/"): value for name, value in found.items() if name.startswith("val/") and name != "val/balanced"}
    guarded = {name.removeprefix("guard/digits/"): value for name, value in found.items() if name.startswith("guard/")}
    assert "top1" in own
    assert guarded == pytest.approx(own, abs=1e-6)
    assert found["val/balanced"] == pytest.approx((found["val/top1"] + found["guard/digits/top1"]) / 2, abs=1e-7)
    before, after = (found.answers for found in (validated.module.guards.zero_shot["digits"], validated.module.guards.adapted["digits"]))
    assert before.classes is not None
    assert after.classes is not None
    assert before.classes.number.tolist() == after.classes.number.tolist() == list(range(len(validated.data.rows("validation"))))
    assert not torch.equal(before.classes.label_probability, after.classes.label_probability)


@pytest.mark.parametrize(
    "method",
    [Full, partial(LinearProbe, start="zero"), partial(PromptTuning, init="random", words=4), partial(PromptTuning, towers="both")],
)
def test_zero_shot_is_the_plain_clips_whatever_the_method_starts_from(tiny: dict[str, str], table: Path, method: Any) -> None:
    validated = Validated(tiny["vit"], method(), str(table))
    validated(untouched=True)
    result = validated.module.guards.results()["colours"]
    plain = Backbone(tiny["vit"]).eval()
    rows = pd.read_json(table, lines=True)
    with torch.no_grad():
        images = torch.cat(
            [plain.encode_image(plain.preprocess.eval(plain.preprocess.decode(table.parent / name))[None]) for name in rows["image"]]
        )
        words = plain.encode_text(plain.preprocess.tokenize([f"a photo of a {name}." for name in sorted(COLOURS)]))
    chance = (plain.logit_scale * images @ words.T).softmax(dim=1).detach()
    label = torch.tensor([sorted(COLOURS).index(name) for name in rows["label"]])
    assert (result.images, result.texts, result.metric) == (9, 13, "top1")
    assert result.zero_shot["top1"] == pytest.approx(float((chance.argmax(dim=1) == label).float().mean()), abs=1e-6)
    assert result.zero_shot_answers is not None
    answers = result.zero_shot_answers.classes
    assert answers is not None
    order = torch.tensor(
        [int(row.key.rpartition("/")[2].partition(".")[0]) for row in _rows(validated)]
    )  # held out, then one after another
    torch.testing.assert_close(answers.label_probability, chance[range(9), label][order], rtol=0, atol=1e-5)


def _rows(validated: Validated) -> list[Any]:
    """The guard's rows, by number."""
    fixed = validated.module.guards.fixed["colours"]
    return [row for _, _, row in fixed.rows[[(0, number) for number in range(fixed.images)]]]


def test_what_a_probe_says_of_other_classes_is_not_computed_again(
    tiny: dict[str, str], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = Validated(tiny["vit"], LinearProbe(), [str(table), DIGITS])
    validated(untouched=True)
    validated.move(1.0)
    seen = count(monkeypatch)
    validated()
    assert seen == {
        "encode_image": len(validated.data.rows("validation")),
        "decode": len(validated.data.rows("validation")),
    }  # not a guard's
    results = validated.module.guards.results()
    assert results["colours"].unchanged
    assert results["colours"].adapted == results["colours"].zero_shot
    assert not results["digits"].unchanged  # the very classes that it learns
    assert results["digits"].adapted["top1"] != results["digits"].zero_shot["top1"]


def test_shared_words_go_around_a_guards_class_names_and_captions_stay(
    tiny: dict[str, str], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validated = Validated(tiny["vit"], PromptTuning(), str(table))
    validated(untouched=True)
    validated.move(3.0)
    seen = count(monkeypatch)
    validated()
    assert seen["encode_image"] == seen["decode"] == len(validated.data.rows("validation"))
    assert seen["encode_text"] == 10 + 3  # the classes' prompts, and no caption
    result = validated.module.guards.results()["colours"]
    assert result.zero_shot_answers is not None
    assert result.adapted_answers is not None
    assert not torch.equal(result.zero_shot_answers.classes.probabilities, result.adapted_answers.classes.probabilities)  # type: ignore[arg-type,union-attr]
    assert result.adapted["recall"] == result.zero_shot["recall"]


def test_images_are_decoded_once_where_there_is_room_and_else_at_each_pass(
    tiny: dict[str, str], table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = Backbone(tiny["vit"]).eval()
    (one,) = guard_sets({"path": str(table), "images": 7})
    seen = count(monkeypatch)
    size = 7 * 3 * 32 * 32
    found = {}
    for left, times in ((size, 7), (size - 1, 14)):
        seen.clear()
        room = Room(left)
        fixed = opened("colours", one, backbone, room)
        found[left] = [fixed.score(backbone, Full()).metrics for _ in range(2)]
        assert seen["decode"] == times
        assert room.left == left - (size if left == size else 0)
    assert found[size][0] == found[size][1] == found[size - 1][0] == found[size - 1][1]


def test_the_same_images_are_chosen_whatever_the_seed(tiny: dict[str, str], table: Path) -> None:
    backbone = Backbone(tiny["vit"]).eval()
    keys = []
    for seed in (0, 1):
        L.seed_everything(seed, verbose=False)
        fixed = opened("colours", guard_sets({"path": str(table), "images": 4})[0], backbone, Room())
        keys.append([row.key for part in fixed.parts for _, _, row in fixed.rows[part]])
    assert keys[0] == keys[1]
    assert len(set(keys[0])) == 4


def test_of_data_without_a_test_split_all_images_are_scored(tiny: dict[str, str], table: Path) -> None:
    backbone = Backbone(tiny["vit"]).eval()
    assert opened("colours", guard_sets(str(table))[0], backbone, Room()).images == 9
    assert opened("digits", guard_sets("digits")[0], backbone, Room()).images == 359
    new = opened("digits", guard_sets({"path": "digits", "classes": "new", "split": "all"})[0], backbone, Room())
    assert new.classes.names == ["five", "six", "seven", "eight", "nine"] or len(new.classes.names) == 5


def test_an_image_that_cannot_be_read_is_left_out_and_told(
    tiny: dict[str, str], table: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = pd.read_json(table, lines=True)
    rows["image"] = [str(table.parent / name) for name in rows["image"]]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows.loc[4, "image"] = str(tmp_path / "broken.png")
    rows.to_json(tmp_path / "broken.jsonl", orient="records", lines=True)
    backbone = Backbone(tiny["vit"]).eval()
    found = opened("broken", guard_sets(str(tmp_path / "broken.jsonl"))[0], backbone, Room()).score(backbone, Full())
    assert (found.images, found.texts) == (8, 12)
    assert f"guard broken: left out: {tmp_path}/broken.png: " in caplog.text


def test_what_cannot_be_scored_is_refused(tiny: dict[str, str], table: Path) -> None:
    backbone = Backbone(tiny["vit"]).eval()
    neither = {"path": str(table), "label_column": "label", "caption_column": None, "classes": "new"}
    with pytest.raises(DataError, match=r"^guard colours: classes: new is one class of 3"):
        opened("colours", guard_sets(neither)[0], backbone, Room())
    with pytest.raises(ConfigError, match=r"digits is what the run is adapted to, and its test images are what it is tested on"):
        Validated(tiny["vit"], LinearProbe(), "digits")()
