"""`transformers`: a `CLIPModel`, or a `SiglipModel` where the architecture is that, with its processor."""

from pathlib import Path
from typing import Any

from cliptune.adapted import AdaptedCLIP
from cliptune.errors import ExportError
from cliptune.export.base import Format, check_folds
from cliptune.export.tokenizers import of_transformers
from cliptune.export.transformers_clip import clip
from cliptune.export.transformers_siglip import is_siglip, siglip


class Transformers(Format):
    """Hugging Face's folder."""

    name = "transformers"
    title = "transformers"

    def check(self, model: AdaptedCLIP) -> None:
        """Only what folds."""
        check_folds(model, self.name)

    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """Model, image processor and tokenizer."""
        from transformers import CLIPProcessor, SiglipProcessor
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()  # of a second's work
        as_siglip = is_siglip(model.backbone)
        tokenizer = of_transformers(model.backbone.preprocess.tokenizer)
        (siglip if as_siglip else clip)(model.backbone, tokenizer).save_pretrained(folder)
        processor = SiglipProcessor if as_siglip else CLIPProcessor
        processor(image_processor=image_processor(model, as_siglip), tokenizer=tokenizer).save_pretrained(folder)

    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """By `from_pretrained`."""
        return (
            "from transformers import AutoModel, AutoProcessor\n\n"
            f'model = AutoModel.from_pretrained("{place}")\n'
            f'processor = AutoProcessor.from_pretrained("{place}")'
        )


def image_processor(model: AdaptedCLIP, as_siglip: bool) -> Any:
    """The backbone's evaluation transform in transformers' words.

    Raises:
        ExportError: it pads, which these processors do not.
    """
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    known, (height, width) = model.backbone.preprocess.config, model.backbone.preprocess.size
    mode = known.get("resize_mode", "shortest")
    if mode == "longest":
        raise ExportError("this backbone pads images, which transformers' CLIP processors do not. Use --format open_clip or onnx.")
    shared = {
        "resample": 2 if known.get("interpolation") == "bilinear" else 3,  # Pillow's numbers
        "image_mean": list(known["mean"]),
        "image_std": list(known["std"]),
        "do_convert_rgb": True,
    }
    whole = {"height": height, "width": width}
    if as_siglip:
        if mode != "squash":
            raise ExportError("this SigLIP crops images, which transformers' SigLIP processor does not. Use --format open_clip or onnx.")
        return SiglipImageProcessor(size=whole, **shared)
    if mode == "squash":
        return CLIPImageProcessor(size=whole, do_center_crop=False, **shared)
    return CLIPImageProcessor(size={"shortest_edge": height}, crop_size=whole, **shared)
