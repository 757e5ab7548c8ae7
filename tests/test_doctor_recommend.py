"""What is recommended for which data, with reasons; and the config that is written."""

from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from doctor_reports import by_class, captioned, config, spread, zero

from cliptune.doctor.findings import Findings
from cliptune.doctor.fixed import fixed_config, merged, plain, with_keys
from cliptune.doctor.looks import Looks
from cliptune.doctor.places import Kind
from cliptune.doctor.problems import problems
from cliptune.doctor.recommend import recommend
from cliptune.doctor.settings import Recommendation, class_of
from cliptune.doctor.text_findings import FalseNegatives, Repeated
from cliptune.doctor.zero_shot import ZeroShot


def advice(findings: Findings, scored: ZeroShot | None = None, **changes: Any) -> dict[str, Recommendation]:
    """Recommendations by topic."""
    return {one.topic: one for one in recommend(findings, scored or zero(), config(**changes))}


@pytest.mark.parametrize(
    ("each", "verdict", "method"),
    [(2, "partly", "LinearProbe"), (8, "words", "LinearProbe"), (8, "partly", "LoRA"), (50, "words", "LoRA"), (500, "near", "LoRA"),
     (500, "far", "Full"), (500, "words", "Full")],
)  # fmt: skip
def test_the_method_follows_from_the_images_of_a_class_and_the_distance(each: int, verdict: str, method: str) -> None:
    found = advice(by_class(each, each, each), zero(verdict))
    assert class_of(found["method"].value) == method
    assert class_of(found["objective"].value) == "CrossEntropy"
    assert found["method"].source


@pytest.mark.parametrize(("each", "method"), [(2, "LinearProbe"), (99, "LinearProbe"), (100, "Full"), (500, "Full")])
def test_a_small_backbone_is_trained_whole_from_a_hundred_images_on(each: int, method: str) -> None:
    assert class_of(advice(by_class(each, each), zero("far", 10_000_000))["method"].value) == method


def test_a_probe_is_solved_at_once_where_it_can_be() -> None:
    solved = {"class_path": "LinearProbe", "init_args": {"solver": "lbfgs"}}
    assert advice(by_class(2, 2))["method"].value == solved
    several = by_class(2, 2)
    several.splits["train"].labels = dict.fromkeys(several.splits["train"].labels, 3)  # six labels of four images
    own = {"class_path": "cliptune.objectives.sum.Sum", "init_args": {"parts": ["CrossEntropy", "L2SP"]}}
    for found in (advice(several), advice(by_class(2, 2), model__objective=own)):
        assert found["method"].value == "LinearProbe"


@pytest.mark.parametrize(("rows", "verdict", "method"), [(500, "far", "LoRA"), (30_000, "near", "LoRA"), (30_000, "partly", "Full")])
def test_captions_ask_for_contrastive_and_many_of_them_for_all_weights(rows: int, verdict: str, method: str) -> None:
    found = advice(captioned(rows), zero(verdict))
    assert (class_of(found["method"].value), class_of(found["objective"].value)) == (method, "Contrastive")


def test_other_class_names_later_ask_for_learned_words() -> None:
    assert advice(by_class(16, 16), data__classes="base")["method"].value == "PromptTuning"
    described = advice(by_class(16, 16), data__classes="base", data__descriptions="cupl.json")  # they share no words that could learn
    assert class_of(described["method"].value) == "LoRA"


def test_a_backbone_of_random_weights_learns_all_of_them() -> None:
    found = advice(by_class(2, 2), model__backbone={"name": "ViT-B-32", "pretrained": "random"})
    assert class_of(found["method"].value) == "Full"
    assert found["learning rate"].value == 5e-4


def test_rows_that_a_tower_gave_before_leave_only_a_probe() -> None:
    assert advice(by_class(500, 500), zero("far", vectors=True))["method"].value["class_path"] == "LinearProbe"


def test_a_backbone_of_the_sigmoid_loss_keeps_it() -> None:
    assert advice(captioned(5000), zero(sigmoid=True))["objective"].value == "Sigmoid"


def test_a_sum_of_the_users_own_is_left_alone() -> None:
    own = {"class_path": "cliptune.objectives.sum.Sum", "init_args": {"parts": ["Contrastive", "L2SP"]}}
    assert not advice(captioned(5000), model__objective=own)["objective"].changes


def test_what_is_right_is_kept_with_its_arguments() -> None:
    own = {"class_path": "cliptune.objectives.cross_entropy.CrossEntropy", "init_args": {"label_smoothing": 0.1}}
    lora = {"class_path": "cliptune.methods.lora.LoRA", "init_args": {"rank": 16}}
    found = advice(by_class(50, 50), model__objective=own, model__method=lora)
    assert [topic for topic in ("method", "objective", "learning rate") if found[topic].changes] == []
    assert found["method"].value == lora


@pytest.mark.parametrize(
    ("rows", "given", "expected"), [(3, 64, 3), (100, 64, 8), (400, 64, 32), (5000, 64, 64), (5000, 4, 64), (5000, 4096, 64)]
)
def test_the_batch_of_classes_leaves_ten_steps_an_epoch(rows: int, given: int, expected: int) -> None:
    assert advice(by_class(rows - 1, 1), data__batch_size=given)["batch size"].value == expected


def test_the_batch_of_pairs_is_larger_and_no_larger_than_doubles_allow() -> None:
    assert advice(captioned(60_000), data__batch_size=16)["batch size"].value == 256
    twins = FalseNegatives(64, by={"caption": 63 / 100})  # one row of a hundred has the same caption
    assert advice(captioned(60_000, false_negatives=twins), data__batch_size=256)["batch size"].value == 64


@pytest.mark.parametrize(("parameters", "lr", "expected"), [(1e8, 1e-3, 1e-5), (1e8, 2e-5, 2e-5), (1e7, 1e-5, 3e-4), (1e7, 5e-4, 5e-4)])
def test_the_learning_rate_is_of_the_backbone_and_near_ones_are_kept(parameters: int, lr: float, expected: float) -> None:
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": lr}}
    assert advice(captioned(5000), zero("far", int(parameters)), model__optimizer=optimizer)["learning rate"].value == expected


PIXELS = Looks(100, colours=20, flat=0.6, white=0.0, edges=0.1, coloured=0.3, short_side=32)
PAPER = Looks(100, colours=200, flat=0.8, white=0.85, edges=0.05, coloured=0.0, short_side=1200)
PHOTOS = Looks(100, colours=9000, flat=0.05, white=0.0, edges=0.02, coloured=0.8, short_side=250)


@pytest.mark.parametrize(
    ("looks", "transform", "applied"), [(PIXELS, "pixel_art", True), (PAPER, "document", True), (PHOTOS, "photo", False)]
)
def test_the_transform_follows_from_pixels_and_photographs_are_the_users_to_tell(looks: Looks, transform: str, applied: bool) -> None:
    found = advice(by_class(50, 50), zero(looks=looks))["transforms"]
    assert (found.value, found.apply) == (transform, applied)


def test_scans_are_known_by_their_files_their_words_or_their_grey() -> None:
    deep, grey = by_class(50, 50), by_class(50, 50)
    deep.images.odd = {"16_bit": Kind(deep.images.readable)}
    grey.images.grey = grey.images.readable
    words = captioned(5000, repeated=[Repeated("Chest X-ray, normal", 30)])
    for found in (advice(deep), advice(grey), advice(words), advice(by_class(50, 50), data__templates="a dermoscopic image of a {}.")):
        assert (found["transforms"].value, found["transforms"].apply) == ("medical", True)


def test_long_texts_are_read_sentence_by_sentence() -> None:
    assert "long text" not in advice(captioned(5000, truncated=50))
    found = advice(captioned(5000, truncated=2600, truncated_words=0.4))["long text"]
    assert found.value == "sample_sentence"
    assert "50% of the texts" in found.reason
    assert "40% of all words" in found.reason


def test_rare_classes_are_drawn_evenly_where_validation_is_even_and_else_the_user_judges() -> None:
    even, uneven = by_class(1000, 10), by_class(1000, 10, validation=(100, 1))
    for findings, applied in ((even, True), (uneven, False)):
        found = advice(findings)["rare classes"]
        assert (found.key, found.value, found.apply) == ("data.sampler", "balanced", applied)
    assert "rare classes" not in advice(by_class(50, 10))


def test_uneven_classes_ask_for_accuracy_per_class_and_with_captions_too() -> None:
    uneven = by_class(1000, 10, validation=(100, 1))
    found = advice(uneven)["metric"]
    assert (found.key, found.value, found.apply) == ("watch.monitor", "val/mean_per_class", False)
    assert "99%" in found.reason
    assert "metric" not in advice(by_class(50, 10))
    assert "metric" not in advice(uneven, watch={"monitor": "val/auroc"})
    captions = captioned(1010)
    captions.classes, captions.splits = uneven.classes, uneven.splits
    assert class_of(advice(captions)["objective"].value) == "Contrastive"
    assert advice(captions)["rare classes"].key == "data.sampler"
    assert advice(captions)["metric"].key == "watch.monitor"


def test_large_images_are_kept_decoded_where_a_tower_learns() -> None:
    large = by_class(500, 500)
    large.images.short_sides = spread(900, 1000)
    assert advice(large, zero("far"))["decoded cache"].value is True
    assert "decoded cache" not in advice(by_class(500, 500), zero("far"))


def test_keys_that_the_config_does_not_have_are_not_recommended() -> None:
    resolved = config()
    for key in ("transform", "long_text", "sampler", "decoded"):
        del resolved["data"][key]
    found = recommend(by_class(1000, 10), zero(looks=PIXELS), resolved)
    assert [one for one in found if one.apply and one.key.startswith("data.") and one.key != "data.batch_size"] == []


def test_no_backbone_is_changed_without_being_asked() -> None:
    found = captioned(5000)
    found.languages.broken, found.languages.backbones = 0.9, ["xlm-roberta-base-ViT-B-32:laion5b_s13b_b90k"]
    one = advice(found)["backbone"]
    assert (one.value, one.apply) == ({"name": "xlm-roberta-base-ViT-B-32", "pretrained": "laion5b_s13b_b90k"}, False)


# Problems


def test_leaks_into_test_come_before_all_that_is_merely_odd() -> None:
    found = by_class(100, 50)
    found.duplicates.across = {"validation in train": 2, "test in train": 5}
    found.images.odd = {"cmyk": Kind(3), "truncated": Kind(1)}
    said = problems(found, zero(), config())
    assert [one.level for one in said] == sorted((one.level for one in said), key=["stop", "warn", "note"].index)
    assert said[0].title == "5 images of test (25.0%) are in train too"
    assert {"1 image file is cut off", "3 images are CMYK"} <= {one.title for one in said}


def test_more_bad_files_than_a_fit_bears_stop_it() -> None:
    found = by_class(100, 50)
    found.images.odd = {"truncated": Kind(1)}
    assert [one.level for one in problems(found, zero(), config()) if one.kind == "truncated"] == ["warn"]
    found.images.odd = {"truncated": Kind(20)}
    assert [one.level for one in problems(found, zero(), config()) if one.kind == "truncated"] == ["stop"]


def test_a_batch_beyond_train_and_classes_that_are_missing_stop_a_fit() -> None:
    objective = {"class_path": "cliptune.objectives.cross_entropy.CrossEntropy"}
    said = problems(captioned(20), zero(), config(model__objective=objective))
    assert [one.title for one in said if one.level == "stop"] == [
        "a batch of 64 is more than the 20 rows of train",
        "CrossEntropy needs classes, and there are none",
    ]


# The config


def test_the_fixed_config_keeps_the_users_keys_and_gives_each_change_its_reason() -> None:
    own: dict[str, Any] = {
        "seed_everything": 5,
        "model": {"backbone": {"name": "ViT-B-32", "pretrained": "openai"}},
        "data": {"path": "a: b", "flip": 0.5},
    }
    resolved = config()
    found = recommend(by_class(1000, 10), zero(looks=PIXELS), resolved)
    text = fixed_config(own, found, resolved, "own")
    read = yaml.safe_load(text)
    assert read["seed_everything"] == 5
    assert read["model"]["backbone"] == own["model"]["backbone"]
    assert read["data"] == {"path": "a: b", "flip": 0.5, "transform": "pixel_art", "sampler": "balanced"}
    assert read["model"]["objective"] == "CrossEntropy"
    lines = text.splitlines()
    for one in found:
        if one.apply and one.changes:
            at = next(i for i, line in enumerate(lines) if line.strip().startswith(f"{one.key.rpartition('.')[2]}:"))
            assert lines[at - 1].strip().startswith("#")


def test_a_class_that_is_missing_in_the_config_is_written_with_what_it_needs() -> None:
    resolved = config()
    resolved["model"]["optimizer"]["init_args"] |= {"eps": 1e-8, "betas": [0.9, 0.999], "foreach": None}
    one = Recommendation("learning rate", "model.optimizer.init_args.lr", 3e-4, 1e-5, "so")
    read = yaml.safe_load(fixed_config({"data": {"path": "x"}}, [one], resolved, "own"))
    assert read["model"]["optimizer"] == {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-4, "weight_decay": 0.1}}


def test_what_the_user_must_judge_is_a_comment() -> None:
    one = Recommendation("backbone", "model.backbone", {"name": "x"}, None, "they read it", apply=False)
    text = fixed_config({"data": {"path": "x"}}, [one], config(), "own")
    assert yaml.safe_load(text) == {"data": {"path": "x"}}
    assert "# model.backbone: {name: x}" in text


def test_later_configs_win_and_another_class_takes_no_arguments_over() -> None:
    first = {"model": {"method": {"class_path": "LoRA", "init_args": {"rank": 2}}}, "data": {"path": "a", "flip": 0.1}}
    second = {"model": {"method": {"class_path": "Full", "init_args": {"train_last": 1}}}, "data": {"path": "b"}}
    assert merged([first, second]) == {"model": second["model"], "data": {"path": "b", "flip": 0.1}}
    assert merged([first, {"model": {"method": "Full"}}])["model"]["method"] == "Full"


def test_keys_of_the_command_line_are_in_the_config_too() -> None:
    resolved = config(data__path="b")
    found = with_keys({"data": {"path": "a"}}, ["data.path", "model.optimizer.lr", "ckpt_path"], resolved)
    assert found["data"]["path"] == "b"
    assert found["model"]["optimizer"]["init_args"]["lr"] == 1e-5
    assert set(found) == {"data", "model"}


def test_a_class_is_written_without_its_defaults() -> None:
    value = {"class_path": "cliptune.methods.lora.LoRA", "init_args": {"rank": 8, "dropout": 0.0, "layers": "all"}}
    assert plain(value) == {"class_path": "LoRA", "init_args": {"rank": 8}}
    assert plain({"class_path": "cliptune.methods.lora.LoRA", "init_args": {"rank": 4}}) == {"class_path": "LoRA"}


def test_a_poor_default_template_asks_for_words_about_the_images_unless_classes_have_descriptions() -> None:
    poor = zero(classes=SimpleNamespace(skill=0.05))
    default = {"data__templates": "a photo of a {}."}
    assert advice(by_class(50, 50), poor, **default)["templates"].key == "data.templates"
    assert "templates" not in advice(by_class(50, 50), poor)
    assert "templates" not in advice(by_class(50, 50), poor, **default, data__descriptions="cupl.json")
