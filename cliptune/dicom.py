"""DICOM by pydicom (the extra `dicom`): the first frame as a screen would show it, 8 bits a channel.

Sections are those of DICOM PS3.3: modality LUT C.11.1, VOI LUT and window C.11.2, photometric interpretation C.7.6.3.1.2.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cliptune.errors import DataError

if TYPE_CHECKING:
    from pydicom import Dataset

MAGIC = slice(128, 132)  # PS3.10, sec. 7.1
DEFLATED = b"1.2.840.10008.1.2.1.99"  # PS3.5, sec. A.5
HEAD = 2048  # bytes in which the header names the transfer syntax
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")  # of several frames: C.7.6.16
OF_VALUES = ("PixelValueTransformationSequence", "FrameVOILUTSequence")

Floats = npt.NDArray[np.float64]


def is_dicom(data: bytes) -> bool:
    """Whether a file is DICOM, by its bytes."""
    return data[MAGIC] == b"DICM"


def opened(data: bytes, name: str) -> "Dataset":
    """Read a file's header; its pixels stay as they are in the file.

    Raises:
        DataError: there is no pydicom; or the whole file is deflated, which could fill the memory before its size is known.
    """
    try:
        from pydicom import dcmread
        from pydicom.filebase import DicomBytesIO
    except ImportError:
        raise DataError(f"the image {name or '(bytes)'} is DICOM, which needs pydicom: pip install 'cliptune[dicom]'") from None
    if DEFLATED in data[:HEAD]:
        raise DataError(
            f"the image {name or '(bytes)'} is a deflated DICOM file, which is not read. Write it with another transfer syntax."
        )
    return dcmread(DicomBytesIO(data))


def size_of(dataset: "Dataset") -> tuple[int, int]:
    """Width and height.

    Raises:
        ValueError: it holds no picture.
    """
    if "Rows" not in dataset or "Columns" not in dataset:
        raise ValueError("it is DICOM without pixels")
    return int(dataset.Columns), int(dataset.Rows)


def pixels_of(dataset: "Dataset") -> npt.NDArray[np.uint8]:
    """Decode the first frame.

    Returns:
        [H, W] of grey, [H, W, 3] of colour.

    Raises:
        ValueError: its pixels are compressed by what no installed package reads.
    """
    from pydicom.pixels import apply_color_lut, pixel_array

    try:
        stored = pixel_array(dataset, index=0)  # RGB, where it was YBR
    except RuntimeError as error:  # pydicom's, of decoders
        syntax = dataset.file_meta.TransferSyntaxUID.name
        raise ValueError(f"pydicom cannot decode its {syntax} pixels ({_first(error)}); pylibjpeg[all] reads more kinds") from None
    kind = dataset.PhotometricInterpretation
    if kind == "PALETTE COLOR":
        coloured = apply_color_lut(stored, dataset)
        return _of_bits(coloured[..., :3], 8 * coloured.dtype.itemsize)
    if stored.ndim == 3:
        return _of_bits(stored, int(dataset.BitsStored))
    grey = (_shown(stored, dataset).clip(0.0, 1.0) * 255).round().astype(np.uint8)
    return 255 - grey if kind == "MONOCHROME1" else grey


def _shown(stored: npt.NDArray[np.generic], dataset: "Dataset") -> Floats:
    """Stored grey values as shares of full light: rescaled, then through the first window or table; from least to greatest without."""
    from pydicom.pixels import apply_modality_lut, apply_voi

    _lift(dataset)
    values = apply_modality_lut(stored, dataset).astype(np.float64)
    if dataset.get("VOILUTSequence"):
        bits = int(dataset.VOILUTSequence[0].LUTDescriptor[2])
        return apply_voi(values.astype(np.int64), dataset).astype(np.float64) / (2**bits - 1)
    centre, width = (_number(dataset.get(key)) for key in ("WindowCenter", "WindowWidth"))
    if centre is not None and width is not None and width > 0:
        return _window(values, centre, width, str(dataset.get("VOILUTFunction") or "LINEAR"))
    padding = dataset.get("PixelPaddingValue")  # outside of what was measured
    known = values[stored != padding] if padding is not None else values
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    return (values - low) / ((high - low) or 1.0)


def _window(values: Floats, centre: float, width: float, function: str) -> Floats:
    """C.11.2.1.2 and C.11.2.1.3, as shares of the output's range."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp((-4 * (values - centre) / width).clip(-50, 50)))
    if function == "LINEAR_EXACT":
        return (values - centre) / width + 0.5
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return (values - (centre - 0.5)) / (width - 1) + 0.5


def _lift(dataset: "Dataset") -> None:
    """Put what a file of several frames says of the first one's values where a file of one frame says it."""
    for group in GROUPS:
        for items in [item.get(name) for item in (dataset.get(group) or [])[:1] for name in OF_VALUES]:
            for element in (items or [])[:1]:
                dataset.update({one.tag: one for one in element if one.tag not in dataset})


def _number(value: Any) -> float | None:
    """The first of one or several."""
    if value is None or value == "":
        return None
    return float(value) if isinstance(value, (int, float, str)) else float(value[0])


def _of_bits(values: npt.NDArray[Any], bits: int) -> npt.NDArray[np.uint8]:
    return values.astype(np.uint8) if bits <= 8 else (values.astype(np.int64) * 255 // (2**bits - 1)).astype(np.uint8)


def _first(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")
