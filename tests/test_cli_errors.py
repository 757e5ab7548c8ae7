"""Mistakes in keys, classes, paths and values each give one line with the way out, exit status 2, and no run folder."""

from pathlib import Path

import pytest

from cliptune.main import main

CONFIGS = {
    "section": ("modle: {}", ["unknown section modle", "Did you mean model?"]),
    "class": ("model: {method: Ful}", ["model.method Ful", "Did you mean Full?"]),
    "key": ("data: {batchsize: 3}", ["no key data.batchsize", "Did you mean data.batch_size?"]),
    "nested_key": ("model: {backbone: {nam: x}}", ["no key model.backbone.nam", "model.backbone.name"]),
    "argument": ("model: {method: {class_path: Full, init_args: {tower: image}}}", ["Full has no argument tower", "Did you mean towers?"]),
    "literal": ("model: {method: {class_path: Full, init_args: {towers: imag}}}", ["towers is imag", "both, image, text"]),
    "number": ("model: {optimizer: {class_path: torch.optim.AdamW, init_args: {lr: hello}}}", ["lr is hello", "a number"]),
    "whole_number": ("data: {batch_size: many}", ["data.batch_size is many", "a whole number"]),
    "optimizer": ("model: {optimizer: {class_path: torch.optim.Adamw}}", ["torch.optim has no class Adamw", "AdamW"]),
    "trainer_key": ("trainer: {max_epoch: 3}", ["no key trainer.max_epoch", "trainer.max_epochs"]),
    "identity": ("model: {objective: {class_path: Contrastive, init_args: {same: [labl]}}}", ["'labl'", "Did you mean label?"]),
    "yaml": ("a: [\n", ["not valid YAML at line 2"]),
    "no_map": ("just words", ["not a map of sections"]),
    "backbone": ("model: {backbone: {name: ViT-B-33, pretrained: openai}}", ["ViT-B-33 is no open_clip model", "ViT-B-32"]),
    "data_path": ("data: {path: ./nothing.parquet}", ["there is no nothing.parquet"]),
    "template": ("data: {templates: a photo}", ["no {} for the class name"]),
    "floor": ("watch: {floor: 2}", ["watch: floor 2", "share of zero-shot"]),
    "keep": ("watch: {keep: 90}", ["watch: keep 90 is not in 0..1", "share of the guards' zero-shot scores"]),
    "seeds": ("seeds: [1, 1]", ["seeds [1, 1] names 1 twice"]),
    "test_monitor": ("watch: {monitor: test/top1}", ["monitor test/top1 would choose the model on the test split", "Take val/top1."]),
    "batch": ("data: {batch_size: 5000}", ["batch_size 5000", "training rows"]),
    "image_size": ("model: {backbone: {name: nano, image_size: 50}}", ["image_size 50", "Take 48"]),
    "sum": ("model: {objective: Sum}", ["parts must be set", "objective/keep"]),
    "strategy": ("trainer: {strategy: fsdp, accelerator: cpu}", ["trainer.strategy fsdp is not supported", "configs/scale/fsdp"]),
    "tensors": (
        "trainer: {accelerator: cpu, strategy: {class_path: ModelParallelStrategy, init_args: {tensor_parallel_size: 2}}}",
        ["trainer.strategy ModelParallelStrategy is not supported", "fsdp2"],
    ),
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    assert main(words) == 2
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1, error
    return error


@pytest.mark.parametrize("case", CONFIGS)
def test_a_mistake_in_a_config_is_one_line_with_the_way_out(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, expected = CONFIGS[case]
    Path("x.yaml").write_text(text, encoding="utf-8")
    error = one_line(capsys, ["fit", "--config", "x.yaml"])
    for part in expected:
        assert part in error, error
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fit", "--data.batchsize", "3"], "Did you mean data.batch_size?"),
        (["fit", "--watch.patence", "3"], "Did you mean watch.patience?"),
        (["fit", "--model.method", "Ful"], "Did you mean Full?"),
        (["fit", "stray"], "the word 'stray' is out of place: keys are written --KEY VALUE."),
        (["fit", "there.yaml"], "keys are written --KEY VALUE, a config as --config there.yaml."),
        (["doctor", "images"], "keys are written --KEY VALUE, data as --data.path images."),
        (["doctor", "--path", "x"], "there is no key path. Did you mean data.path?"),
        (["fit", "--model.batch_size", "3"], "there is no key model.batch_size. Did you mean data.batch_size?"),
        (["fit", "--epochs", "3"], "Did you mean trainer.max_epochs?"),
        (["fit", "--lr", "3"], "there is no key lr. Did you mean model.optimizer.lr?"),
        (["fit", "--learning_rate", "3"], "there is no key learning_rate. Did you mean model.optimizer.lr?"),
        (["fit", "--rank", "3"], "Did you mean model.method.rank?"),
        (["fit", "--model.rank", "3"], "there is no key model.rank. Did you mean model.method.rank?"),
        (["fit", "--class_weights", "balanced"], "Did you mean model.objective.class_weights?"),
        (["fit", "--seed", "3"], "Did you mean seed_everything or data.seed?"),
        (["fit", "--zzzzz", "3"], "There is: seed_everything, seeds, model, data, trainer, run,"),
        (["fit", "--run.zzzzz", "3"], "There is: name, root, baseline, pictures, report."),
        (["fit", "--config", "digts"], "digits"),
        (["fitt"], "Did you mean fit?"),
        (["test", "--ckpt_path", "best"], "no run called test"),
        (["test", "--ckpt_path", "runs/nothing"], "no checkpoint runs/nothing"),
    ],
)
def test_a_mistake_on_the_command_line_names_the_nearest_right_one(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("images").mkdir()
    Path("there.yaml").touch()
    assert expected in one_line(capsys, words)


@pytest.mark.parametrize(
    "words",
    [
        ["--data.path", "gone/table.csv"],
        ["--data.sources", "[{path: digits}, {path: ./gone}]"],
        ["--data.eval_path", "gone.parquet"],
        ["--guard", "/gone/photos"],
    ],
)
def test_data_that_is_not_there_is_told_before_weights_are_fetched(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cliptune.backbone.create", lambda *_, **__: pytest.fail("the model was made"))
    assert "there is no gone" in one_line(capsys, ["fit", *words])
