"""The pretrained CLIP: its rows against open_clip's own, and the errors of who asks for one that cannot be."""

import json
import pickle
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
import torch.nn.functional as F
from conftest import CONFIGS, Code, images_for, write_model
from open_clip.pretrained import list_pretrained_tags_by_model
from safetensors.torch import load_file
from torch.utils import serialization
from torch.utils._python_dispatch import TorchDispatchMode

from cliptune.backbone import Backbone
from cliptune.errors import ConfigError
from cliptune.pretrained import checked_tag

TEXTS = ["a photo of a cat", "고양이 사진", "a much longer text, which the context of sixteen tokens cuts off at its end"]


@pytest.fixture(autouse=True)
def _no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        pytest.fail("a download was tried")

    monkeypatch.setattr("open_clip.factory.download_pretrained", refuse)
    monkeypatch.setattr("open_clip.factory.download_pretrained_from_hf", refuse)


def weights_of(name: str) -> Path:
    return Path(name.removeprefix("local-dir:")) / "open_clip_model.safetensors"


class Draws(TorchDispatchMode):
    """The tensors of two and more dimensions that are filled at random."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket in (torch.ops.aten.uniform_, torch.ops.aten.normal_) and found.ndim > 1:
            self.found.append(found.shape)
        return found


# Behaviour


@torch.no_grad()
def test_rows_equal_open_clips_own_made_unit(tiny: dict[str, str], family: str, backbone: Backbone) -> None:
    theirs = open_clip.create_model(tiny[family]).eval()
    images = images_for(backbone, 4)
    mean, std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.25, 0.3, 0.2]).view(3, 1, 1)
    expected = F.normalize(theirs.encode_image((images / 255 - mean) / std), dim=-1)
    torch.testing.assert_close(backbone.encode_image(images), expected, atol=2e-6, rtol=0)
    tokens = open_clip.get_tokenizer(tiny[family])(TEXTS)
    expected = F.normalize(theirs.encode_text(tokens), dim=-1)
    torch.testing.assert_close(backbone.encode_text(tokens), expected, atol=2e-6, rtol=0)
    assert backbone.logit_scale.item() == pytest.approx(theirs.logit_scale.exp().item())
    assert (backbone.logit_bias is None) == (family != "siglip")


@torch.no_grad()
def test_pixels_and_normalised_floats_give_equal_rows(backbone: Backbone) -> None:
    images = images_for(backbone, 3)
    floats = (images / 255 - backbone.mean) / backbone.std
    torch.testing.assert_close(backbone.encode_image(images), backbone.encode_image(floats), atol=2e-6, rtol=0)


def test_rows_are_float32_and_unit_under_bfloat16_autocast(backbone: Backbone) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [backbone.encode_image(images_for(backbone, 2)), backbone.encode_text(backbone.preprocess.tokenize(TEXTS))]
    for rows in found:
        assert rows.dtype == torch.float32
        torch.testing.assert_close(rows.norm(dim=-1), torch.ones(len(rows)))


def test_image_size_interpolates_the_positional_embedding(tiny: dict[str, str], vit: Backbone) -> None:
    larger = Backbone(tiny["vit"], image_size=48)
    grid = vit.model.visual.positional_embedding[1:].T.reshape(1, 32, 4, 4)
    expected = F.interpolate(grid, size=(6, 6), mode="bicubic", antialias=True, align_corners=False).reshape(32, 36).T
    torch.testing.assert_close(larger.model.visual.positional_embedding[1:], expected)
    assert larger.preprocess.size == (48, 48)
    assert larger.encode_image(images_for(larger, 2)).shape == (2, 24)


def test_patch_dropout_acts_in_training_only(tiny: dict[str, str]) -> None:
    dropping = Backbone(tiny["vit"], patch_dropout=0.5)
    images = images_for(dropping, 2)
    assert not torch.equal(dropping.train().encode_image(images), dropping.encode_image(images))
    assert torch.equal(dropping.eval().encode_image(images), dropping.encode_image(images))


def test_the_fingerprint_changes_with_the_weights_only(tiny: dict[str, str], vit: Backbone) -> None:
    assert Backbone(tiny["vit"]).fingerprint() == vit.fingerprint()
    before = vit.fingerprint()
    vit.model.visual.conv1.weight.data[0, 0, 0, 0] += 0.01
    assert vit.fingerprint() != before


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_of_weights_is_loaded(tiny: dict[str, str], tmp_path: Path, suffix: str) -> None:
    other = Backbone(write_model(tmp_path / "other", CONFIGS["vit"], seed=1))
    file = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": other.model.state_dict()}, file)
    else:
        weights_of(other.name).rename(file)
    assert Backbone(tiny["vit"], str(file)).fingerprint() == other.fingerprint() != Backbone(tiny["vit"]).fingerprint()


@pytest.mark.parametrize("kind", ["own", "archive", "before 1.6"])
def test_what_is_loaded_is_neither_drawn_before_nor_copied_twice(
    tiny: dict[str, str], family: str, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a number is drawn for what a file gives, and a file that can be mapped is."""
    state, file, mapped = load_file(weights_of(tiny[family])), tmp_path / "weights.pt", []
    if kind != "own":
        torch.save(state, file, _use_new_zipfile_serialization=kind == "archive")
    load = torch.load

    def seen(*args: Any, **kwargs: Any) -> Any:
        mapped.append(serialization.config.load.mmap)
        return load(*args, **kwargs)

    monkeypatch.setattr("torch.load", seen)
    with Draws() as draws:
        built = Backbone(tiny[family], None if kind == "own" else str(file))
    assert not draws.found
    built.restore_shapes()
    assert all(torch.equal(value, state[name]) for name, value in built.model.state_dict().items())
    assert mapped[-1:] == {"own": [], "archive": [True], "before 1.6": [False]}[kind]
    assert not serialization.config.load.mmap


def test_random_takes_no_weights(tiny: dict[str, str], vit: Backbone) -> None:
    with Draws() as draws:
        Backbone(tiny["vit"], "random")
    assert draws.found
    assert Backbone(tiny["vit"], "random").fingerprint() != vit.fingerprint()


def test_nano_is_a_causal_clip_of_48_pixels() -> None:
    nano = Backbone("nano", "random")
    assert (nano.causal, nano.preprocess.size, nano.logit_bias) == (True, (48, 48), None)
    assert nano.fingerprint() != Backbone("nano").fingerprint()


def test_pretrained_may_name_a_folder_of_the_same_architecture(tiny: dict[str, str], vit: Backbone) -> None:
    assert Backbone(pretrained=tiny["vit"]).fingerprint() == vit.fingerprint()
    with pytest.raises(ConfigError, match="is not a ViT-B-32: its embed_dim is 24, not 512"):
        Backbone("ViT-B-32", tiny["vit"])


def test_every_tag_of_open_clip_is_taken_or_refused_for_another_model_that_has_it() -> None:
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        for tag in list_pretrained_tags_by_model(name):
            try:
                assert checked_tag(name, tag, config) == tag
            except ConfigError as error:
                right = str(error).rpartition("Use name: ")[2].rstrip(".")
                assert right != name
                assert checked_tag(right, tag, open_clip.get_model_config(right)) == tag


# Errors


ERRORS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown name": ({"name": "ViT-B32", "pretrained": "openai"}, r"ViT-B32 is no open_clip model\. Did you mean ViT-B-32\?"),
    "name in the wrong case": ({"name": "vit-b-32", "pretrained": "openai"}, r"Did you mean ViT-B-32\?"),
    "no weights": ({"name": "ViT-B-32"}, r"needs weights\. Set pretrained to a tag \(laion2b_e16, .*file, or random to start"),
    "unknown tag": (
        {"name": "RN50-quickgelu", "pretrained": "openia"},
        r"neither a tag of RN50-quickgelu nor a file\. Did you mean openai\?",
    ),
    "QuickGELU weights": ({"name": "ViT-B-32", "pretrained": "openai"}, r"trained with QuickGELU.*Use name: ViT-B-32-quickgelu\."),
    "GELU weights": ({"name": "ViT-B-32-quickgelu", "pretrained": "laion2b_s34b_b79k"}, r"trained with GELU.*Use name: ViT-B-32\."),
    "missing file": ({"name": "nano", "pretrained": "nowhere.pt"}, r"nowhere\.pt: there is no such file"),
    "missing folder": ({"name": "local-dir:/nowhere"}, r"no open_clip_config\.json in /nowhere\. Give a folder"),
    "no size": ({"name": "nano", "pretrained": "random", "image_size": 0}, r"image_size 0 is not positive"),
    "odd size": (
        {"name": "nano", "pretrained": "random", "image_size": 50},
        r"50 is not a multiple of nano's patch of 8 pixels\. Take 48\.",
    ),
    "odd dropout": ({"name": "nano", "pretrained": "random", "patch_dropout": 1.5}, r"cannot be built"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_what_cannot_be_is_one_line_with_the_way_out(case: str) -> None:
    arguments, message = ERRORS[case]
    with pytest.raises(ConfigError, match=message) as caught:
        Backbone(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("ours", "theirs", "key"), [("vit", "rn50", "visual.class_embedding"), ("vit", "siglip", "text_projection"),
                                                     ("rn50", "vit", "visual.bn1.weight"), ("siglip", "vit", "logit_bias")])  # fmt: skip
def test_weights_of_another_architecture_name_the_first_differing_keys(tiny: dict[str, str], ours: str, theirs: str, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"is not a {tiny[ours]}: it lacks .*{key}.*; it has the unknown "):
        Backbone(tiny[ours], str(weights_of(tiny[theirs])))


def test_weights_of_another_width_name_the_shapes(tiny: dict[str, str], tmp_path: Path) -> None:
    wide = {**CONFIGS["vit"], "embed_dim": 25}
    with pytest.raises(ConfigError, match=r"it has text_projection \(32, 25\) instead of \(32, 24\), visual\.proj"):
        Backbone(tiny["vit"], str(weights_of(write_model(tmp_path / "wide", wide))))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("plain", [False, True])
def test_code_in_a_file_of_weights_is_never_run(tiny: dict[str, str], tmp_path: Path, plain: bool) -> None:
    file, mark = tmp_path / "weights.pt", tmp_path / "was run"
    content = {"visual.proj": Code(mark)}
    if plain:
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file)
    with pytest.raises(
        ConfigError, match=r"cannot be read as plain weights.*could run code\. Save the model's state_dict\(\) as \.safetensors"
    ):
        Backbone(tiny["vit"], str(file))
    assert not mark.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:'torch.load' received a zip file")
@pytest.mark.parametrize("kind", ["cut", "cut.safetensors", "empty", "words", "script", "whole model"])
def test_a_file_that_is_no_state_dict_is_a_config_error(tiny: dict[str, str], vit: Backbone, tmp_path: Path, kind: str) -> None:
    file = tmp_path / (kind if "." in kind else f"{kind}.pt")
    if kind == "whole model":
        torch.save(vit.model, file)
    elif kind == "script":
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    elif kind == "cut":
        torch.save(vit.model.state_dict(), file)
        file.write_bytes(file.read_bytes()[:9999])
    else:
        file.write_bytes({"empty": b"", "words": b"hello"}.get(kind, weights_of(tiny["vit"]).read_bytes()[:9999]))
    with pytest.raises(ConfigError, match="cannot be read as plain weights"):
        Backbone(tiny["vit"], str(file))


@pytest.mark.parametrize("config", ['{"model_cfg": {', "{}", '{"model_cfg": {"embed_dim": 3}}', json.dumps(CONFIGS["vit"])])
def test_a_folder_whose_configuration_is_no_clip_is_a_config_error(tmp_path: Path, config: str) -> None:
    (tmp_path / "open_clip_config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ConfigError, match=f"local-dir:{tmp_path}"):
        Backbone(f"local-dir:{tmp_path}")


def test_a_folder_without_weights_is_a_config_error_and_not_a_random_model(tmp_path: Path) -> None:
    name = write_model(tmp_path, CONFIGS["vit"])
    weights_of(name).unlink()
    with pytest.raises(ConfigError, match=r"there are no weights in .*random to start from scratch"):
        Backbone(name)
    assert Backbone(name, "random").causal


def test_an_image_size_that_the_model_cannot_take_says_so(tiny: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"attnpool\.positional_embedding.*Leave image_size out"):
        Backbone(tiny["rn50"], image_size=96)
