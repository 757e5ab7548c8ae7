"""Files that mean ill: at every entrance nothing of them is run, no memory is filled, and the end is one line."""

import json
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from adapted_runs import adapted_run
from conftest import Code
from small import SMALL

import cliptune
from cliptune import LoRA
from cliptune.errors import CheckpointError, CliptuneError
from cliptune.export.peft import Peft

MEMORY = 12 * 2**30  # bytes of address space: torch alone takes a third of it


@pytest.fixture
def run(tiny: dict[str, str], tmp_path: Path) -> Path:
    return adapted_run(tiny["vit"], LoRA(rank=2), tmp_path / "run")


Change = Callable[[dict[str, Any], Path], None]


def arguments(part: str, **values: Any) -> Change:
    return lambda content, _: content["cliptune"][part]["arguments"].update(values)


def code(content: dict[str, Any], folder: Path) -> None:
    content["cliptune"]["method"]["arguments"]["rank"] = Code(folder)


def foreign(content: dict[str, Any], _: Path) -> None:
    content["cliptune"]["objective"]["class"] = "os.system"


def inner_function(content: dict[str, Any], _: Path) -> None:
    content["cliptune"]["backbone"]["class"] = "cliptune.run.Path"


def expanded(content: dict[str, Any], _: Path) -> None:
    content["state_dict"]["backbone.model.logit_scale"] = torch.zeros(1).expand(10**12)


def expanded_state(content: dict[str, Any], _: Path) -> None:
    content["optimizer_states"] = [{"state": {0: {"exp_avg": torch.zeros(1).expand(10**6, 10**6)}}}]


def no_keys(content: dict[str, Any], _: Path) -> None:
    content["state_dict"].clear()


def words_of_one(content: dict[str, Any], _: Path) -> None:
    content["cliptune"]["class_texts"] = 7


CHANGES: dict[str, Change] = {
    "pickle code": code,
    "foreign class": foreign,
    "a class of ours that is no part": inner_function,
    "tensor beyond its file": expanded,
    "optimizer beyond its file": expanded_state,
    "no keys": no_keys,
    "wrong kind": words_of_one,
    "rank": arguments("method", rank=10**9),
    "rank that is a word": arguments("method", rank="many"),
    "image size": arguments("backbone", image_size=32 * 10**6),
    "another model": arguments("backbone", name="local-dir:/dev"),
}


def change(run: Path, how: Change) -> Path:
    file = run / "checkpoints" / "best.ckpt"
    content = torch.load(file, weights_only=True)
    how(content, run / "made_by_code")
    torch.save(content, file)
    return file


@pytest.mark.parametrize("case", CHANGES)
def test_a_changed_checkpoint_ends_in_one_line(run: Path, case: str) -> None:
    change(run, CHANGES[case])
    with pytest.raises(CheckpointError) as caught:
        cliptune.load(run)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not (run / "made_by_code").exists()


def packed(file: Path) -> None:
    """An archive of a hundred kilobytes that unpacks to a hundred megabytes; a thousand times as much would go by the same way."""
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data + bytes(10**8) if name.endswith("data/0") else data)
    assert file.stat().st_size < 10**7


@pytest.mark.parametrize("entrance", ["load", "test", "fit", "soup", "export", "predict"])
def test_every_entrance_refuses_an_archive_that_unpacks_to_more(run: Path, tiny: dict[str, str], entrance: str) -> None:
    import yaml

    packed(run / "checkpoints" / "best.ckpt")
    (run / "config.yaml").write_text(yaml.safe_dump({**SMALL, "model": {"backbone": {"name": tiny["vit"]}, "method": "LoRA"}}))
    file, config = str(run / "checkpoints" / "best.ckpt"), str(run / "config.yaml")
    words = {
        "test": ["test", "--config", config, "--ckpt_path", file],
        "fit": ["fit", "--config", config, "--ckpt_path", file],
        "soup": ["soup", str(run), str(run)],
        "export": ["export", str(run), "--format", "peft"],
        "predict": ["predict", str(run), "digits", "--output", "a.csv"],
        "load": [],
    }[entrance]
    if not words:
        with pytest.raises(CheckpointError, match="is not read: it holds compressed"):
            cliptune.load(run)
        return
    done = limited(run, f"from cliptune.main import main; raise SystemExit(main({words!r}))")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert "is not read: it holds compressed entries, which torch never writes" in done.stderr


def limited(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python with little memory to take."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, preexec_fn=limit)


@pytest.mark.parametrize("case", ["rank", "image size", "tensor beyond its file"])
def test_no_memory_is_taken_for_what_is_refused(run: Path, case: str) -> None:
    change(run, CHANGES[case])
    code = """
import re
import cliptune
try:
    cliptune.load(".")
except cliptune.errors.CheckpointError as error:
    print(error)
print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1])
"""  # not ru_maxrss, which begins with what the parent had when it forked
    done = limited(run, code)
    line, peak = done.stdout.strip().splitlines()
    assert done.returncode == 0, done.stderr
    assert int(peak) < 2 * 2**20, line  # kilobytes: what torch and open_clip are, and no more


def test_weights_that_are_packed_or_hold_code_are_refused(tiny: dict[str, str], tmp_path: Path) -> None:
    backbone = cliptune.Backbone(tiny["vit"])
    state = backbone.model.state_dict()
    torch.save(state, tmp_path / "packed.pt")
    packed(tmp_path / "packed.pt")
    torch.save({**state, "x": Code(tmp_path / "made_by_code")}, tmp_path / "code.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Code(tmp_path / "made_by_code")))
    for name, expected in {"packed": "it holds compressed", "code": "could run code", "pickle": "could run code"}.items():
        with pytest.raises(CliptuneError, match=expected) as caught:
            cliptune.Backbone(tiny["vit"], str(tmp_path / f"{name}.pt"))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "made_by_code").exists()


def absurd_header(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes((2**62).to_bytes(8, "little") + b"{}")


def auto_mapping(folder: Path) -> None:
    file = folder / "adapter_config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    told["auto_mapping"] = {"base_model_class": "system", "parent_library": "os"}
    told["peft_type"] = "LOHA"
    file.write_text(json.dumps(told), encoding="utf-8")


def foreign_recipe(folder: Path) -> None:
    file = folder / "cliptune.json"
    file.write_text(file.read_text(encoding="utf-8").replace("cliptune.methods.lora.LoRA", "os.system"), encoding="utf-8")


def no_recipe(folder: Path) -> None:
    (folder / "cliptune.json").unlink()


def not_json(folder: Path) -> None:
    (folder / "cliptune.json").write_text("[" * 100_000, encoding="utf-8")


@pytest.mark.parametrize("how", [absurd_header, auto_mapping, foreign_recipe, no_recipe, not_json])
def test_a_changed_adapter_folder_ends_in_one_line(run: Path, tmp_path: Path, how: Callable[[Path], None]) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    Peft().write(cliptune.load(run), folder, "fp32")
    cliptune.load(folder)
    how(folder)
    with pytest.raises(CheckpointError) as caught:
        cliptune.load(folder)
    assert "\n" not in str(caught.value)
