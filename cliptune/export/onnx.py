"""`onnx`: image and text encoder, and with classes the classifier, with all that is needed to use them in their metadata."""

import json
import logging
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cliptune.adapted import AdaptedCLIP
from cliptune.errors import ExportError
from cliptune.export import tokenizers
from cliptune.export.base import Format, preprocessing
from cliptune.export.encoders import Classifier, ImageEncoder, TextEncoder

FP16_ROWS = 5e-3  # half precision has 11 bits; rows of unit length
INT8_ROWS = 0.2  # weights in 8 bits change rows by a tenth or so: the change in accuracy is what to look at
KEPT = ["LayerNormalization"]  # in float32: better so, and onnxruntime 1.32's CPU optimizer falls over it in half precision
LARGEST = 2**31 - 2**20  # of a protobuf file, beyond which weights lie beside it


class Onnx(Format):
    """Graphs for onnxruntime, with a dynamic batch."""

    name = "onnx"
    title = "ONNX"
    modules = ("onnx", "onnxscript", "onnxruntime")
    extra = "onnx"

    def allowed(self, precision: str, scale: float) -> dict[str, float]:
        """More in fewer bits."""
        found = super().allowed(precision, scale)
        rows = {"fp16": FP16_ROWS, "int8": INT8_ROWS}.get(precision)
        if rows is None:
            return found
        return {**dict.fromkeys(found, rows), "logits": rows * scale, "own_image_rows": rows + found["own_image_rows"]}

    def write(self, model: AdaptedCLIP, folder: Path, precision: str) -> None:
        """A file for each graph, and the tokenizer."""
        pixels = torch.zeros(2, 3, *model.backbone.preprocess.size)
        words = model.backbone.preprocess.tokenizer(["a", "b"])
        rows = {"embedding": "unit rows", "scale": f"{float(model.backbone.logit_scale):.9g}"}
        about = {"preprocess": json.dumps(preprocessing(model)), "base_fingerprint": str(model.about["base_fingerprint"]), **rows}
        read = {"tokenizer": "tokenizer.json", "context_length": str(words.shape[1])}
        _save(ImageEncoder(model), ("pixel_values", pixels), "image_embeds", folder / "image_encoder.onnx", precision, about)
        _save(TextEncoder(model), ("input_ids", words), "text_embeds", folder / "text_encoder.onnx", precision, {**rows, **read})
        if model.class_names:
            named = {**about, "class_names": json.dumps(model.class_names, ensure_ascii=False)}
            _save(Classifier(model), ("pixel_values", pixels), "logits", folder / "classifier.onnx", precision, named)
        (folder / "tokenizer.json").write_text(tokenizers.as_json(model.backbone.preprocess.tokenizer), encoding="utf-8")

    def usage(self, model: AdaptedCLIP, place: str) -> str:
        """With onnxruntime."""
        graph, said = ("classifier", "logits") if model.class_names else ("image_encoder", "rows")
        return (
            "import onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{place}/{graph}.onnx")\n'
            f'{said} = session.run(None, {{"pixel_values": pixels}})[0]  # [B, 3, h, w] float32, normalised'
        )


def _save(module: nn.Module, given: tuple[str, Tensor], output: str, file: Path, precision: str, about: dict[str, str]) -> None:
    import onnx

    name, example = given
    batch = {name: {0: torch.export.Dim("batch", min=1)}}
    loggers = [logging.getLogger(part) for part in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with torch.no_grad(), warnings.catch_warnings(), redirect_stdout(StringIO()):  # it tells its steps
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            found: Any = torch.onnx.export(
                module.eval(), (example,), dynamic_shapes=batch, dynamo=True, input_names=[name], output_names=[output], verbose=False
            )
        except Exception as error:  # the exporter raises many kinds
            raise ExportError(
                f"this architecture has no form in ONNX: {str(error).strip().splitlines()[0]}. Use --format torch_export."
            ) from error
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
    graph: onnx.ModelProto = found.model_proto
    if not graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param:  # the exporter would go on without
        raise ExportError("this architecture has no form in ONNX with batches of any size. Use --format torch_export or open_clip.")
    if precision == "fp16":
        from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

        graph = convert_float_to_float16(graph, keep_io_types=True, op_block_list=[*DEFAULT_OP_BLOCK_LIST, *KEPT])
    if precision == "int8":
        graph = _in_int8(graph)
    onnx.helper.set_model_props(graph, {**about, "precision": precision})
    onnx.save(graph, file, save_as_external_data=graph.ByteSize() > LARGEST, location=f"{file.name}.data")


def _in_int8(graph: Any) -> Any:
    """Weights of products in 8 bits, activations quantized as they come; convolutions as they were, which CPUs have no faster form for."""
    import tempfile

    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch:
        before, after = Path(scratch) / "before.onnx", Path(scratch) / "after.onnx"
        onnx.save(graph, before, save_as_external_data=graph.ByteSize() > LARGEST)
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)  # it warns of shapes that it can do without
        try:
            quantize_dynamic(before, after, op_types_to_quantize=["MatMul", "Gemm"], per_channel=True, weight_type=QuantType.QInt8)
        finally:
            root.setLevel(level)
        return onnx.load(after)
