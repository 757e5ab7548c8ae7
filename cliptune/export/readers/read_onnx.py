"""Reads an `onnx` export with onnxruntime, `tokenizers` and Pillow alone; prints how fast it is."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image
from tokenizers import Tokenizer

sys.path.append(str(Path(__file__).parent))
from reading import Samples, per_second, run


def read(folder: Path, samples: Samples) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Rows of both encoders, and the logits of the classifier where there is one."""
    image, text = session(folder / "image_encoder.onnx"), session(folder / "text_encoder.onnx")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = np.array([encoding.ids for encoding in tokenizer.encode_batch(samples.texts)], dtype=np.int64)
    about = json.loads(image.get_modelmeta().custom_metadata_map["preprocess"])
    own = np.stack([preprocessed(picture, about) for picture in samples.images])
    found = {
        "image_rows": image.run(None, {"pixel_values": samples.pixels})[0],
        "text_rows": text.run(None, {"input_ids": ids})[0],
        "own_image_rows": image.run(None, {"pixel_values": own})[0],
    }
    facts: dict[str, Any] = {"onnxruntime": onnxruntime.__version__}
    if (folder / "classifier.onnx").is_file():
        classifier = session(folder / "classifier.onnx")
        found["logits"] = classifier.run(None, {"pixel_values": samples.pixels})[0]
        facts["class_names"] = json.loads(classifier.get_modelmeta().custom_metadata_map["class_names"])
    facts["images_per_second"] = per_second(lambda: image.run(None, {"pixel_values": samples.pixels}), len(samples.pixels))
    return found, facts


def session(file: Path) -> onnxruntime.InferenceSession:
    """A session on the CPU."""
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def preprocessed(image: Image.Image, about: dict[str, Any]) -> np.ndarray:
    """[3, h, w], float32: resized, cropped and normalised as the metadata says."""
    height, width = about["size"]
    kind = Image.Resampling.BILINEAR if about["interpolation"] == "bilinear" else Image.Resampling.BICUBIC
    mode = about["resize_mode"]
    if mode == "squash":
        image = image.resize((width, height), kind)
    else:
        choose = max if mode == "shortest" else min
        factor = choose(width / image.width, height / image.height)
        image = image.resize((max(round(image.width * factor), 1), max(round(image.height * factor), 1)), kind)
        left, top = round((image.width - width) / 2), round((image.height - height) / 2)
        fill = about.get("fill_color", 0)
        canvas = Image.new("RGB", (width, height), (fill,) * 3 if isinstance(fill, int) else tuple(fill))
        canvas.paste(image, (-left, -top))
        image = canvas
    values = np.asarray(image, dtype=np.float32).transpose(2, 0, 1) / 255
    mean, std = (np.array(about[key], dtype=np.float32)[:, None, None] for key in ("mean", "std"))
    return np.asarray((values - mean) / std)


run(read)
