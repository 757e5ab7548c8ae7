"""`peft`: the adapter alone, as plain peft reads it on the prepared open_clip model, and as `cliptune.load` takes it."""

import json
from pathlib import Path

from cliptune.adapted import AdaptedCLIP
from cliptune.blend import folds
from cliptune.errors import ExportError
from cliptune.export.base import Format, fitting
from cliptune.loading import RECIPE_FILE
from cliptune.methods.lora import LoRA


class Peft(Format):
    """peft's adapter folder."""

    name = "peft"
    title = "peft"
    folds = False

    def check(self, model: AdaptedCLIP) -> None:
        """Only LoRA."""
        if not isinstance(model.method, LoRA):
            fits = "open_clip" if folds(model.method) else " or ".join(fitting(model))
            raise ExportError(f"what {type(model.method).__name__} learns is no adapter of peft's. Use --format {fits}.")

    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """Peft's two files, and the recipe."""
        assert isinstance(model.method, LoRA)
        model.method.save_adapter(model.backbone, folder)
        recipe = {**model.about, "method": model.method.describe_adapter()}
        (folder / RECIPE_FILE).write_text(json.dumps(recipe, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """By cliptune, and by peft."""
        words = ", ".join(f"{key}={value!r}" for key, value in model.backbone.describe()["arguments"].items() if value is not None)
        return (
            f'import cliptune\n\nmodel = cliptune.load("{place}")\n\n'
            "# or by plain peft, on the open_clip model that cliptune prepares\n"
            "from peft import PeftModel\n\n"
            f"backbone = cliptune.Backbone({words})\n"
            "cliptune.attention.split(backbone.model)\n"
            f'model = PeftModel.from_pretrained(backbone.model, "{place}")'
        )
