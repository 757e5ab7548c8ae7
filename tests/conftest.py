"""What several test files share: tiny CLIPs of four shapes with random weights, and pictures. Nothing here reaches the network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when datasets is imported
os.environ["OMP_NUM_THREADS"] = "1"  # for tiny models a second thread costs more than it gives; read when torch is imported

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import open_clip
import pytest
import torch
from huggingface_hub import constants
from pair import Pair
from PIL import Image
from safetensors.torch import save_file
from small import write_config
from timm.models import register_model
from timm.models.eva import Eva

from cliptune import hub
from cliptune.backbone import Backbone
from cliptune.methods.base import ClassTexts

TEXT = {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 3, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {**TEXT, "layers": 3},
    },
    "rn50": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 32},
        "text_cfg": TEXT,
    },
    "siglip": {
        "embed_dim": 96,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit3", "timm_pool": "map", "timm_proj": "none"},
        "text_cfg": {**TEXT, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
    },
    "convnext": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 64, "timm_model_name": "test_convnext", "timm_pool": "avg", "timm_proj": "linear"},
        "text_cfg": TEXT,
    },
}
FAMILIES = tuple(CONFIGS)
MORE: dict[str, dict[str, Any]] = {
    "coca": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "attentional_pool": True,
                       "attn_pooler_heads": 2, "attn_pooler_queries": 4, "output_tokens": True},
        "text_cfg": {**TEXT, "embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "layers": 1, "dim_head": 16, "attn_pooler_heads": 2},
        "custom_text": True,
    },
    "eva02": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 56, "timm_model_name": "tiny_eva02", "timm_pool": "token", "timm_proj": None},
        "text_cfg": TEXT,
        "custom_text": True,
    },
}  # fmt: skip
ALL_FAMILIES = (*FAMILIES, *MORE)


@register_model
def tiny_eva02(pretrained: bool = False, **kwargs: Any) -> Eva:
    """A tiny EVA-02 (Fang et al. 2023): separate projections, rotary positions, SwiGLU."""
    shape = {"img_size": 56, "patch_size": 14, "embed_dim": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 8 / 3, "swiglu_mlp": True}
    kwargs = {key: value for key, value in kwargs.items() if key in ("global_pool", "num_classes")}
    model = Eva(**{**shape, "qkv_fused": False, "use_rot_pos_emb": True, "ref_feat_shape": (16, 16), **kwargs})
    model.default_cfg = {}
    return model


def write_model(folder: Path, config: dict[str, Any], seed: int = 0, **preprocess: Any) -> str:
    """Write an architecture and seeded random weights into a folder, and give its `local-dir:` name."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.3, 0.2], **preprocess}}
    (folder / "open_clip_config.json").write_text(json.dumps(whole), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        for name, p in model.named_parameters():
            if name.endswith(("bn3.weight", ".gamma")):  # zero or near it at random initialisation, which would hide all that comes before
                torch.nn.init.ones_(p)
            if name == "text_decoder.text_projection":  # CoCa's, which open_clip leaves as the memory was
                torch.nn.init.normal_(p, std=0.02)
    save_file({key: value.contiguous() for key, value in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


class Code:
    """Unpickled, makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[float]:
    """A machine without network or anything fetched before; gives the seconds that were waited for it."""
    found: list[float] = []
    monkeypatch.setattr(hub, "reachable", lambda: False)
    for switch in (constants, datasets.config):
        monkeypatch.setattr(switch, "HF_HUB_OFFLINE", False)  # set above, under which nothing is waited for
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(time, "sleep", found.append)
    return found


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """From family to the `local-dir:` name of a tiny random model; read-only."""
    root = tmp_path_factory.mktemp("models")
    return {family: write_model(root / family, config) for family, config in {**CONFIGS, **MORE}.items()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Each of the four shapes in turn."""
    return str(request.param)


@pytest.fixture
def backbone(tiny: dict[str, str], family: str) -> Backbone:
    """A fresh backbone of each family in turn, in evaluation mode."""
    return Backbone(tiny[family]).eval()


@pytest.fixture
def vit(tiny: dict[str, str]) -> Backbone:
    """A fresh ViT, in evaluation mode."""
    return Backbone(tiny["vit"]).eval()


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    os.environ["CLIPTUNE_CACHE"] = str(tmp_path_factory.mktemp("rows"))
    datasets.disable_progress_bars()


@pytest.fixture(autouse=True)
def _own_log() -> Iterator[None]:
    """Our logger as it is where no command has run: a command in this process, or a fixture's, gives it the terminal as it then was."""

    def plain() -> None:
        ours.handlers, ours.propagate = [], True
        ours.setLevel(logging.NOTSET)

    ours = logging.getLogger("cliptune")
    plain()
    yield
    plain()


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random picture, [height, width, 3], uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def images_for(backbone: Backbone, count: int, seed: int = 0) -> torch.Tensor:
    """Random pixels of the backbone's size, [count, 3, h, w], uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *backbone.preprocess.size), generator=generator, dtype=torch.uint8)


def classes_for(backbone: Backbone) -> ClassTexts:
    """Three classes with two templates each."""
    names = ["cat", "red panda", "seven"]
    return ClassTexts(names, [[f"a photo of a {name}.", f"a drawing of a {name}, in ink."] for name in names], backbone.preprocess)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's folder as the working folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def config(tiny: dict[str, str], elsewhere: None) -> Path:
    """A small config in the working folder."""
    return write_config(tiny["vit"])


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two processes that have met."""
    found = Pair(tmp_path_factory.mktemp("pair"))
    yield found
    found.end()


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[str], Path]:
    """Write a small picture under the test's folder; its content follows from its name."""

    def write(name: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels(24, 32, seed=sum(name.encode()))).save(file)
        return file

    return write
