"""DICOM against known pixels, in files that pydicom writes."""

import io
from typing import Any

import numpy as np
import pytest
import torch

from cliptune.errors import DataError
from cliptune.images import decode

pydicom = pytest.importorskip("pydicom")

from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.pixels import apply_windowing, set_pixel_data  # noqa: E402
from pydicom.sequence import Sequence  # noqa: E402
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless, SecondaryCaptureImageStorage  # noqa: E402

RAMP = np.arange(0, 4000, 250, dtype=np.uint16).reshape(4, 4)  # 12 bits


def dataset(pixels: np.ndarray, kind: str = "MONOCHROME2", bits: int = 12, **tags: Any) -> Dataset:
    """A dataset of an array; `tags` by keyword."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID, made.SOPInstanceUID = SecondaryCaptureImageStorage, "1.2.3"
    set_pixel_data(made, pixels, "MONOCHROME2" if kind in ("MONOCHROME1", "PALETTE COLOR") else kind, bits)
    made.PhotometricInterpretation = kind
    for key, value in tags.items():
        setattr(made, key, value)
    return made


def written(made: Dataset) -> bytes:
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def shown(pixels: np.ndarray, kind: str = "MONOCHROME2", bits: int = 12, **tags: Any) -> list[list[int]]:
    """The grey levels that are decoded."""
    found = decode(written(dataset(pixels, kind, bits, **tags)))
    assert found.dtype == torch.uint8
    assert found.is_contiguous()
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    return found[0].tolist()  # type: ignore[no-any-return]


def test_without_a_window_levels_go_from_the_least_to_the_greatest() -> None:
    assert shown(np.array([[100, 600], [1100, 350]], np.uint16)) == [[0, 128], [255, 64]]


def test_the_padding_around_a_picture_is_not_its_least_level() -> None:
    pixels = np.array([[-2000, 0], [50, 100]], np.int16)
    assert shown(pixels, bits=16, PixelPaddingValue=-2000) == [[0, 0], [128, 255]]


def test_a_window_is_laid_on_rescaled_values() -> None:
    """Hounsfield units of a CT: air, fat, water and bone in the window of soft tissue, 40 +- 200."""
    units = np.array([[-1000, -160], [40, 1000]])
    stored = (units + 1024).astype(np.uint16)
    found = shown(stored, RescaleSlope="1", RescaleIntercept="-1024", WindowCenter="40", WindowWidth="400")
    assert found == [[0, 0], [128, 255]]


@pytest.mark.filterwarnings("ignore:overflow encountered in exp")  # pydicom's own
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2000, 3000), (1000, 2), (1500, 1)])
def test_windows_are_those_of_pydicom(function: str, centre: int, width: int) -> None:
    tags = {"WindowCenter": centre, "WindowWidth": width, "VOILUTFunction": function}
    expected = apply_windowing(RAMP, dataset(RAMP, **tags)) / 4095 * 255
    np.testing.assert_allclose(shown(RAMP, **tags), expected, atol=0.51)


def test_of_several_windows_the_first_is_taken() -> None:
    assert shown(RAMP, WindowCenter=[2000, 10], WindowWidth=[3000, 20]) == shown(RAMP, WindowCenter=2000, WindowWidth=3000)


def test_a_table_of_levels_is_looked_up() -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [4, 0, 12])
    table.add_new("LUTData", "US", [4095, 1638, 819, 0])
    assert shown(np.array([[0, 1], [2, 3]], np.uint8), bits=8, VOILUTSequence=Sequence([table])) == [[255, 102], [51, 0]]


def test_monochrome1_is_inverted() -> None:
    pixels = np.array([[0, 500], [1000, 250]], np.uint16)
    assert shown(pixels, "MONOCHROME1") == (255 - np.array(shown(pixels))).tolist() == [[255, 127], [0, 191]]


def test_colours_stay_as_they_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert torch.equal(decode(written(dataset(pixels, "RGB", 8))), torch.from_numpy(pixels).permute(2, 0, 1))


def test_colours_of_16_bits_are_scaled() -> None:
    pixels = np.full((2, 2, 3), (65535, 100 * 257, 0), np.uint16)
    assert decode(written(dataset(pixels, "RGB", 16)))[:, 0, 0].tolist() == [255, 100, 0]


def test_ybr_becomes_rgb() -> None:
    """The red of PS3.3, C.7.6.3.1.2, as YCbCr of ITU-R BT.601."""
    found = decode(written(dataset(np.full((2, 2, 3), (76, 85, 255), np.uint8), "YBR_FULL", 8)))
    assert (found[:, 0, 0].int() - torch.tensor([254, 0, 0])).abs().max() <= 1


@pytest.mark.parametrize("bits", [8, 16])
def test_a_palettes_colours_are_looked_up(bits: int) -> None:
    made = dataset(np.array([[0, 1], [2, 2]], np.uint8), "PALETTE COLOR", 8)
    for name, entries in {"Red": [255, 0, 10, 1], "Green": [0, 128, 20, 1], "Blue": [0, 0, 30, 1]}.items():
        stored = np.array(entries, np.uint8) if bits == 8 else np.array(entries, np.uint16) * 257
        made.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [4, 0, bits])
        made.add_new(f"{name}PaletteColorLookupTableData", "OW", stored.tobytes())
    found = decode(written(made))
    assert found.permute(1, 2, 0).tolist() == [[[255, 0, 0], [0, 128, 0]], [[10, 20, 30], [10, 20, 30]]]


def test_of_several_frames_the_first_is_seen_with_its_own_window() -> None:
    frames = np.stack([RAMP, RAMP[::-1]])
    window, item = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth = 2000, 3000
    item.FrameVOILUTSequence = Sequence([window])
    assert shown(frames, NumberOfFrames=2) == shown(RAMP)
    assert shown(frames, PerFrameFunctionalGroupsSequence=Sequence([item, Dataset()])) == shown(RAMP, WindowCenter=2000, WindowWidth=3000)


def test_run_lengths_are_decoded() -> None:
    made = dataset(RAMP)
    made.compress(RLELossless, generate_instance_uid=False)
    assert decode(written(made))[0].tolist() == shown(RAMP)


def test_pixels_that_nothing_installed_decodes_are_a_data_error_that_says_so() -> None:
    made = dataset(RAMP)
    made.compress(RLELossless, generate_instance_uid=False)
    made.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    with pytest.raises(DataError, match=r"cannot decode the image scan 7: pydicom cannot decode its JPEG Lossless.+pylibjpeg"):
        decode(written(made), "scan 7")


def test_a_dicom_bomb_is_refused_before_its_pixels_are_made() -> None:
    with pytest.raises(DataError, match="the image scan 7 has 3,600,000,000 pixels"):
        decode(written(dataset(RAMP, Rows=60_000, Columns=60_000)), "scan 7")


def test_a_deflated_file_is_refused() -> None:
    made = dataset(RAMP)
    made.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    with pytest.raises(DataError, match="scan 7 is a deflated DICOM file"):
        decode(written(made), "scan 7")


def test_a_file_without_pixels_is_a_data_error() -> None:
    made = dataset(RAMP)
    for key in ("Rows", "Columns", "PixelData"):
        delattr(made, key)
    with pytest.raises(DataError, match="cannot decode the image scan 7: it is DICOM without pixels"):
        decode(written(made), "scan 7")


@pytest.mark.parametrize("share", [0.3, 0.5, 0.97])
def test_a_file_cut_short_is_a_data_error(share: float) -> None:
    data = written(dataset(RAMP))
    with pytest.raises(DataError, match="cannot decode the image scan 7: "):
        decode(data[: int(len(data) * share)], "scan 7")


def test_without_pydicom_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    data = written(dataset(RAMP))
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with pytest.raises(DataError, match=r"the image scan 7 is DICOM, which needs pydicom: pip install 'cliptune\[dicom\]'"):
        decode(data, "scan 7")
