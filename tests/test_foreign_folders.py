"""Folders of anybody, of adapters and of whole models: they name no code that is imported, and take no memory that they do not hold."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import cliptune
from cliptune import LoRA, adapters
from cliptune.errors import CheckpointError, CliptuneError
from cliptune.methods.base import ClassTexts

# Adapter folders


TOLD: dict[str, tuple[dict[str, Any], str]] = {
    "another class": (
        {"auto_mapping": {"base_model_class": "M", "parent_library": "evil.models"}},
        r"names code of its own \(auto_mapping in",
    ),
    "a module": (
        {"megatron_config": {"a": 1}, "megatron_core": "evil"},
        r"names code of its own \(megatron_config in adapter_config\.json\)",
    ),
    "another kind": ({"peft_type": "LOHA"}, "holds LOHA, not LORA"),
    "no kind": ({"peft_type": ["a\nb"]}, "holds something else, not LORA"),
}


@pytest.mark.parametrize("case", TOLD)
def test_an_adapters_config_names_no_code(tiny: dict[str, str], tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = tmp_path / "path" / "evil"
    evil.mkdir(parents=True)
    (evil / "__init__.py").write_text("raise SystemExit('was run')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(evil.parent))
    folder = adapter(tiny["vit"], tmp_path)
    file = folder / "adapter_config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    values, message = TOLD[case]
    file.write_text(json.dumps({**told, **values}), encoding="utf-8")
    with pytest.raises(CheckpointError, match=message) as caught:
        adapters.read(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_what_peft_itself_says_of_an_open_clip_model_is_taken(tiny: dict[str, str], tmp_path: Path) -> None:
    folder = adapter(tiny["vit"], tmp_path)
    file = folder / "adapter_config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    told["auto_mapping"] = {"base_model_class": "CLIP", "parent_library": "open_clip.model"}
    file.write_text(json.dumps(told), encoding="utf-8")
    assert adapters.read(folder)[0].r == 2


@pytest.mark.parametrize(
    "begin", [(2**62).to_bytes(8, "little"), (2**20).to_bytes(8, "little"), (2).to_bytes(8, "little") + b"{}" + bytes(9)]
)
def test_an_absurd_header_is_one_line(tiny: dict[str, str], tmp_path: Path, begin: bytes) -> None:
    folder = adapter(tiny["vit"], tmp_path)
    (folder / "adapter_model.safetensors").write_bytes(begin)
    with pytest.raises(CheckpointError, match=r"cannot be read as an adapter: .*\.$") as caught:
        adapters.read(folder)
    assert len(str(caught.value).splitlines()) == 1


def test_a_tensors_name_breaks_no_line(tiny: dict[str, str], tmp_path: Path) -> None:
    folder = adapter(tiny["vit"], tmp_path)
    save_file({"a\nb": torch.ones(1)}, folder / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="it has tensors of names that no layer has"):
        adapters.read(folder)


def adapter(backbone: str, folder: Path) -> Path:
    method = LoRA(rank=2)
    model = cliptune.Backbone(backbone)
    method.attach(model, ClassTexts([], [], model.preprocess))
    method.save_adapter(model, folder / "adapter")
    return folder / "adapter"


# Folders of whole models


FOLDERS: dict[str, tuple[str, dict[str, Any], str]] = {
    "a million blocks": ("text_cfg", {"layers": 10**6}, "layers 1,000,000 in its open_clip_config.json is more than 1,000"),
    "many blocks of a ResNet": ("vision_cfg", {"layers": [9999, 1], "patch_size": None}, "layers 10,000 in its .* is more than 1,000"),
    "wide blocks": ("text_cfg", {"width": 8192}, r"describes [\d,]+ parameters or more, and its weights have [\d,]+ bytes"),
    "a wide ResNet": ("vision_cfg", {"width": 90_000, "layers": [1, 1, 1, 1], "patch_size": None}, "parameters or more, and its weights"),
    "many words": ("text_cfg", {"vocab_size": 10**9}, "parameters or more, and its weights"),
    "many patches": ("vision_cfg", {"image_size": 4096, "patch_size": 1}, "parameters or more, and its weights"),
    "large images": ("vision_cfg", {"image_size": 10**6}, "image_size 1,000,000 in its open_clip_config.json is more than 4,096"),
    "a long context": ("text_cfg", {"context_length": 10**6}, "context_length 1,000,000 in its open_clip_config.json is more than 10,000"),
    "no number": ("vision_cfg", {"layers": "many"}, "cannot be built"),
    "no tower": ("vision_cfg", {"layers": None, "width": [1]}, "cannot be built"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_asks_for_more_than_its_weights_hold_is_refused(tiny: dict[str, str], tmp_path: Path, case: str) -> None:
    """Before any of that memory is taken; some of these would take terabytes."""
    part, values, message = FOLDERS[case]
    folder = tmp_path / "model"
    shutil.copytree(tiny["vit"].removeprefix("local-dir:"), folder)
    file = folder / "open_clip_config.json"
    told = json.loads(file.read_text(encoding="utf-8"))
    told["model_cfg"][part].update(values)
    file.write_text(json.dumps(told), encoding="utf-8")
    for load in (lambda: cliptune.load(folder), lambda: cliptune.Backbone(f"local-dir:{folder}")):
        with pytest.raises(CliptuneError, match=message) as caught:
            load()
        assert len(str(caught.value).splitlines()) == 1
