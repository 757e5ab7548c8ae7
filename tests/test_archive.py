"""Torch files of anybody: read as they are written, and refused where they would take more memory than room on the disk."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from cliptune import archive

Write = Callable[[Path], None]


def entries(file: Path, content: Any) -> dict[str, bytes]:
    torch.save(content, file)
    with zipfile.ZipFile(file) as found:
        return {entry.filename: found.read(entry) for entry in found.infolist()}


@pytest.mark.parametrize("read", [archive.load, archive.check])
def test_what_training_writes_is_read(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    rows = torch.arange(48.0).reshape(6, 8)
    content = {"a": layer.state_dict(), "o": [optimizer.state_dict()], "q": rows[:2], "k": rows[2:4], "t": (rows, rows), "n": [None, True]}
    torch.save(content, tmp_path / "a.ckpt")
    found = read(tmp_path / "a.ckpt")
    if found is not None:
        assert torch.equal(found["k"], rows[2:4])
        assert found["o"][0]["param_groups"] == optimizer.state_dict()["param_groups"]


def test_what_is_read_is_mapped_and_outlives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, mapped, load = tmp_path / "a.ckpt", [], torch.load
    torch.save({"a": torch.arange(9)}, file)
    monkeypatch.setattr("torch.load", lambda *args, **kwargs: mapped.append(kwargs["mmap"]) or load(*args, **kwargs))
    found = archive.load(file)
    torch.save({"a": torch.zeros(9)}, tmp_path / "b.ckpt")
    (tmp_path / "b.ckpt").replace(file)
    assert mapped == [True]
    assert found["a"].tolist() == list(range(9))


def test_the_format_of_before_1_6_is_for_weights_only(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    archive.check(tmp_path / "a.pt")
    with pytest.raises(zipfile.BadZipFile):
        archive.load(tmp_path / "a.pt")


def saved(content: Any) -> Write:
    return lambda file: torch.save(content, file)


def compressed(file: Path) -> None:
    found = entries(file, {"a": torch.zeros(10**6)})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in found.items():
            out.writestr(name, data)


def shared_bytes(file: Path) -> None:
    """A directory of a hundred entries of the same bytes."""
    found = entries(file, {"a": torch.zeros(10**5)})
    with zipfile.ZipFile(file, "w") as out:
        for name, data in found.items():
            out.writestr(name, data)
        first = out.getinfo(next(name for name in found if name.endswith("data/0")))
        for i in range(100):
            again = zipfile.ZipInfo(f"a/data/{i + 1}")
            again.header_offset, again.file_size = first.header_offset, first.file_size
            again.compress_size, again.CRC = first.compress_size, first.CRC
            out.filelist.append(again)


def two_directories(file: Path) -> None:
    """One that a lenient reader finds just before the end, and another at the place that the end states."""
    found = entries(file, {"a": torch.zeros(10)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        for name, data in found.items():
            out.writestr(name, data)
    file.write_bytes(bytes(64) + buffer.getvalue())
    data = bytearray(file.read_bytes())
    data[:4] = archive.ZIP
    file.write_bytes(data)


def commented(file: Path) -> None:
    torch.save({"a": torch.zeros(10)}, file)
    with zipfile.ZipFile(file, "a") as out:
        out.comment = b"PK\x05\x06" + bytes(30)


def laughs(depth: int = 7) -> list[Any]:
    """10 ** depth words, of which each is the same."""
    found: list[Any] = ["ha"] * 10
    for _ in range(depth - 1):
        found = [found] * 10
    return found


def nested() -> list[Any]:
    found: list[Any] = []
    for _ in range(100):
        found = [found]
    return found


def within_itself() -> list[Any]:
    found: list[Any] = []
    found += [found, found]
    return found


TALES: dict[str, tuple[Write, str]] = {
    "compressed": (compressed, "holds compressed entries, which torch never writes"),
    "shared bytes": (shared_bytes, "holds entries that are larger than the file"),
    "two directories": (two_directories, "is no archive as torch writes it"),
    "a comment": (commented, "is no archive as torch writes it"),
    "expanded": (saved({"a": torch.zeros(1).expand(10**6, 10**6)}), r"holds a tensor of shape \(1000000, 1000000\) that claims more"),
    "expanded deep inside": (saved([{"a": (torch.zeros(2, 1).expand(2, 3),)}]), r"holds a tensor of shape \(2, 3\) that claims more"),
    "on no device": (saved({"a": torch.empty(10**6, 10**6, device="meta")}), r"tensor of shape \(1000000, 1000000\), of a kind"),
    "sparse": (saved({"a": torch.ones(1, 1).to_sparse()}), r"holds a tensor of shape \(1, 1\), of a kind"),
    "one tensor many times": (saved([torch.zeros(10**5)] * 10**3), "unfolds to more than its .* bytes can hold"),
    "one word many times": (saved(laughs()), "unfolds to more than its .* bytes can hold"),
    "nested": (saved(nested()), "is nested deeper than 64 lists"),
    "within itself": (saved(within_itself()), "is nested deeper than 64 lists"),
}


@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
@pytest.mark.parametrize("case", TALES)
@pytest.mark.parametrize("read", [archive.load, archive.check])
def test_what_would_grow_is_refused(tmp_path: Path, case: str, read: Callable[[Path], Any]) -> None:
    write, message = TALES[case]
    write(tmp_path / "a.ckpt")
    with pytest.raises(archive.RefusedError, match=message):
        read(tmp_path / "a.ckpt")


@pytest.mark.parametrize("text", ["a.b c", "", "é ü 数", "a" * 500])
def test_a_name_fits_into_a_line(text: str) -> None:
    assert archive.is_name(text)


@pytest.mark.parametrize("text", ["a\nb", "a\n", "a\u2028b", "\x1b[31m", "a" * 501, 5, None])
def test_what_breaks_a_line_is_no_name(text: Any) -> None:
    assert not archive.is_name(text)
