"""`open_clip`: a folder that open_clip loads by `local-dir:`, its weights also as a plain `pretrained` file."""

import json
from pathlib import Path

from safetensors.torch import save_file

from cliptune.adapted import AdaptedCLIP
from cliptune.export.base import Format, check_folds, preprocessing
from cliptune.export.tokenizers import save_pretrained

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


class OpenClip(Format):
    """open_clip's own folder."""

    name = "open_clip"
    title = "open_clip"

    def check(self, model: AdaptedCLIP) -> None:
        """Only what folds."""
        check_folds(model, self.name)

    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """The configuration, the weights, and the tokenizer where it is not open_clip's own."""
        config = {**model.backbone.config, "vision_cfg": dict(model.backbone.config["vision_cfg"])}
        size = model.backbone.preprocess.size
        config["vision_cfg"]["image_size"] = size[0] if size[0] == size[1] else list(size)  # positions may be interpolated
        whole = {"model_cfg": config, "preprocess_cfg": {**preprocessing(model), "size": config["vision_cfg"]["image_size"]}}
        (folder / CONFIG).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")
        state = {name: value.detach().cpu().contiguous().clone() for name, value in model.backbone.model.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        save_pretrained(model.backbone.preprocess.tokenizer, folder)

    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """By `local-dir:`, which keeps activation, mean and std."""
        return (
            "import open_clip\n\n"
            f'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:{place}")\n'
            f'tokenizer = open_clip.get_tokenizer("local-dir:{place}")'
        )
