"""Every shipped config parses, and every command of the README runs."""

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import pixels
from PIL import Image

from cliptune.main import main
from cliptune.shipped import shipped_config, shipped_configs

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONFIGS = [str(file.relative_to(ROOT / "configs").with_suffix("")) for file in sorted((ROOT / "configs").rglob("*.yaml"))]
LIMITS = [f"--trainer.limit_{name}_batches=1" for name in ("train", "val", "test")]


def blocks(kind: str) -> list[str]:
    """The README's fenced blocks of a kind."""
    return re.findall(rf"```{kind}\n(.*?)```", README, flags=re.DOTALL)


def test_every_config_is_shipped_by_its_name() -> None:
    assert set(shipped_configs()) == set(CONFIGS)
    for name in CONFIGS:
        found = shipped_config(name)
        assert found is not None
        assert found.samefile(ROOT / "configs" / f"{name}.yaml")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_parses_and_says_how_it_is_run(name: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit) as ended:
        main(["fit", "--config", name, "--print_config"])
    assert not ended.value.code
    method = (yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8")).get("model") or {}).get("method", "Full")
    assert f"class_path: cliptune.{method['class_path'] if isinstance(method, dict) else method}" in printed.getvalue()
    text = (ROOT / "configs" / f"{name}.yaml").read_text(encoding="utf-8")
    overlay = name.startswith(("scale/", "objective/"))
    assert ("seed_everything" in text) != overlay
    assert "make nano" in text if name == "pretrain/nano" else f"--config {name}" in text


def test_every_command_of_the_readme_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    for i in range(40):
        file = tmp_path / "my_images" / ("cat", "dog")[i % 2] / f"{i // 2}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(40, 50, seed=i)).save(file)
    own = blocks("yaml")[0].replace("{name: ViT-B-32-quickgelu, pretrained: openai}", "{name: nano}")
    assert "nano" in own
    Path("own.yaml").write_text(own, encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in "".join(blocks("bash")).splitlines():
        words: list[str] = shlex.split(line.removeprefix(".venv/bin/"))
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.MULTILINE)
        elif words[0] == "cliptune":
            assert main([*words[1:], *shortened(words)]) == 0, line
        else:
            assert line in ("python3 -m venv .venv", ".venv/bin/pip install -e .")
    for code in blocks("python"):
        exec(code, {})
    assert "[" in capsys.readouterr().out


def shortened(words: list[str]) -> list[str]:
    """What makes a command of the README one of seconds."""
    if "--help" in words or words[1] in ("cache", "predict", "index", "search", "compare", "report", "recipes", "init"):
        return []
    if words[1] == "export":
        return ["--samples", "4"]
    batch: list[Any] = ["--data.batch_size", "8"]
    epochs = [] if words[1] != "fit" else ["--trainer.max_epochs", "2" if "last" in words else "1"]
    return [*LIMITS, *batch, *epochs, "--watch.floor", "0"]


def test_the_shown_output_of_the_quickstart_is_what_the_program_prints() -> None:
    shown = README[README.index("On two cores it ends with") :].split("```")[1]
    for part in ("test/top1", "parameters learned", "waiting for data", "peak memory", "run folder: runs/digits", "next:  cliptune test"):
        assert part in shown
