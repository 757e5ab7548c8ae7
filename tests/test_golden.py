"""What earlier releases wrote loads in this one, and says what it said."""

from pathlib import Path

import pytest
import torch
from golden.write import TEXTS
from safetensors.torch import load_file

import cliptune
from cliptune import checkpoint as C
from cliptune.data.formats.digits import digits
from cliptune.errors import CheckpointError

ROOT = Path(__file__).parent / "golden"
RELEASES = sorted(folder.name for folder in ROOT.iterdir() if (folder / "said.safetensors").is_file())


def test_this_release_has_its_files() -> None:
    assert cliptune.__version__ in RELEASES, "run: python tests/golden/write.py"


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("form", ["run", "adapter"])
def test_a_release_is_read_and_says_what_it_said(release: str, form: str) -> None:
    model = cliptune.load(ROOT / release / form)
    said = load_file(ROOT / release / "said.safetensors")
    images = [digits()["test"][i]["image"]["bytes"] for i in range(3)]
    assert not torch.allclose(said["image_rows"], cliptune.load("nano").encode_images(images), atol=1e-3)
    torch.testing.assert_close(model.encode_images(images), said["image_rows"], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.encode_texts(TEXTS), said["text_rows"], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.classify(images).probabilities, said["probabilities"], rtol=0, atol=1e-4)


def test_what_another_release_wrote_and_this_one_cannot_read_says_which(tmp_path: Path) -> None:
    content = C.read(ROOT / "0.1.0" / "run" / "checkpoints" / "best.ckpt")
    content["cliptune"]["version"] = "0.0.7"
    content["cliptune"]["method"]["class"] = "cliptune.methods.lora.LoRAs"
    with pytest.raises(CheckpointError, match=rf"It was written by cliptune 0\.0\.7, and this is {cliptune.__version__}\.$") as caught:
        C.rebuild(content)
    assert "\n" not in str(caught.value)
