"""An index that is made: a kill at any moment costs neither rows nor the old index, and nothing is computed twice."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from indexes import WIDTH, build, content, holds, row_of, sample, some

from cliptune import index as index_module
from cliptune import index_writer
from cliptune.data.kept.shelf_files import ShelfFiles
from cliptune.errors import CheckpointError, DataError
from cliptune.index import Index
from cliptune.index_writer import IndexWriter


def test_rows_are_made_unit(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH) as writer:
        writer.add(list("abcde"), ["1"] * 5, sample(5).astype(np.float64) * 3)
        np.testing.assert_allclose(writer.finish().rows, sample(5), atol=1e-6)


@pytest.mark.parametrize("stop_after", [0, 4, 9, 16])
def test_a_killed_build_goes_on_and_ends_with_the_same_index(tmp_path: Path, stop_after: int) -> None:
    whole, killed, images = tmp_path / "whole", tmp_path / "killed", some(19)
    assert build(whole, images) == list(images)
    with pytest.raises(KeyboardInterrupt):
        build(killed, images, stop_after)
    with pytest.raises(DataError, match=r"killed is not finished. Run `cliptune index` again"):
        Index.open(killed)
    first = stop_after // 4 * 4  # whole batches
    assert build(killed, images) == list(images)[first:]
    holds(killed, images)
    assert content(killed) == content(whole)


KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from indexes import build, some
sync, left = os.fsync, {number}
def fsync(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)
os.fsync = fsync
build(Path({folder!r}), some(8, "2"))
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
@pytest.mark.parametrize("number", [4, 7])  # of the syncs: in the second batch, and of the new part's files
def test_an_index_outlives_a_build_that_is_killed_outright(tmp_path: Path, number: int) -> None:
    build(tmp_path / "index", some(6))
    code = KILLED.format(tests=str(Path(__file__).parent), number=number, folder=str(tmp_path / "index"))
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    holds(tmp_path / "index", some(6))
    kept = 4 if number == 4 else 8
    assert len(build(tmp_path / "index", some(8, "2"))) == 8 - kept
    holds(tmp_path / "index", some(8, "2"))


@pytest.mark.parametrize("file", ["rows.bin", "keys.bin", "names.jsonl", "ann.faiss", "index.json"])
def test_a_build_killed_at_its_end_computes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    monkeypatch.setattr(index_module, "EXACT_VALUES", 0)  # so that there are codes
    before, after = some(700), {**some(700, "2"), **some(600)}  # no draft as it is: rows of both
    build(tmp_path / "index", before, batch=100)
    kept = content(tmp_path / "index")
    write = {"ann.faiss": "write_codes"}.get(file, "write_whole")
    real = getattr(index_writer, write)

    def killed(*arguments: object) -> None:
        place = next(part for part in arguments if isinstance(part, Path))
        if place.name.removesuffix(".tmp") == file:
            place.with_name(f".{file}.tmp").write_bytes(b"begun")
            raise KeyboardInterrupt
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(index_writer, write, killed)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "index", after, batch=100)
    holds(tmp_path / "index", before)
    assert build(tmp_path / "index", after, batch=100) == []
    holds(tmp_path / "index", after)
    assert content(tmp_path / "index").keys() == kept.keys()  # nothing is left behind


def test_a_build_killed_before_its_draft_is_removed_leaves_an_index_that_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The draft's rows are the index's by a second name: what is appended to them would be appended to the index."""
    with monkeypatch.context() as patch:
        patch.setattr(index_writer, "remove", raising(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path / "index", some(5))
    holds(tmp_path / "index", some(5))
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "index", some(12), stop_after=4)
    holds(tmp_path / "index", some(5))
    assert build(tmp_path / "index", some(12)) == ["8.png", "9.png", "10.png", "11.png"]
    holds(tmp_path / "index", some(12))


def raising(error: BaseException) -> Callable[..., None]:
    def raise_it(*_: object) -> None:
        raise error

    return raise_it


def test_a_second_build_computes_what_is_new_or_changed_and_drops_what_vanished(tmp_path: Path) -> None:
    build(tmp_path / "index", some(10))
    now = {"new.png": "1", **some(10), "3.png": "2", "4.png": "2"}
    del now["7.png"], now["0.png"]
    assert build(tmp_path / "index", now) == ["new.png", "3.png", "4.png"]
    holds(tmp_path / "index", now)
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["index.json", "lock", "part-2"]
    assert build(tmp_path / "index", some(3)) == ["0.png"]
    assert build(tmp_path / "index", some(3)) == []
    holds(tmp_path / "index", some(3))


def test_an_image_that_was_asked_for_and_has_no_row_is_left_out(tmp_path: Path) -> None:
    build(tmp_path / "index", some(3))
    with IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH) as writer:
        for name, stamp in {**some(3), "1.png": "damaged"}.items():
            writer.known(name, stamp)
        writer.finish()
    holds(tmp_path / "index", {"0.png": "1", "2.png": "1"})


def test_rows_of_a_killed_build_that_are_not_wanted_any_more_are_dropped(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "index", some(20), stop_after=8)
    now = {**some(6), "2.png": "2"}
    assert build(tmp_path / "index", now) == ["2.png"]
    holds(tmp_path / "index", now)


def test_of_an_image_that_is_told_twice_the_last_counts(tmp_path: Path) -> None:
    with IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH) as writer:
        for stamp in ("1", "2"):
            assert not writer.known("a.png", stamp)
            writer.add(["a.png"], [stamp], [row_of("a.png", stamp)])
        assert writer.known("a.png", "2")
        writer.finish()
    holds(tmp_path / "index", {"a.png": "2"})


def test_an_image_whose_digest_ends_in_a_zero_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_writer, "digest", lambda data: bytes([data[0]]) + bytes(15))  # numpy's strings end before zeros
    build(tmp_path / "index", some(5))
    assert build(tmp_path / "index", some(6)) == ["5.png"]
    holds(tmp_path / "index", some(6))


def test_a_full_disk_is_said_and_costs_only_what_was_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, left = ShelfFiles.append, 2

    def until_full(self: ShelfFiles, keys: np.ndarray, rows: np.ndarray) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(self, keys, rows)

    with monkeypatch.context() as patch:
        patch.setattr(ShelfFiles, "append", until_full)
        with pytest.raises(DataError, match=r"cannot write the index .*: No space left on device. Mend that and run it again"):
            build(tmp_path / "index", some(20))
    assert build(tmp_path / "index", some(20)) == list(some(20))[8:]
    holds(tmp_path / "index", some(20))


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_a_row_that_points_nowhere_is_refused_by_its_image(tmp_path: Path, value: float) -> None:
    rows = sample(3)
    rows[1] = value
    with IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH) as writer:
        with pytest.raises(DataError, match=r"the row of b.png has length (nan|inf|0), but must point somewhere"):
            writer.add(["a.png", "b.png", "c.png"], ["1"] * 3, rows)
        with pytest.raises(ValueError, match=r"2 names, 2 stamps and rows \[3, 32\]"):
            writer.add(["a.png", "b.png"], ["1"] * 2, sample(3))
        with pytest.raises(DataError, match="no image was found for the index"):
            writer.finish()


def test_what_an_index_cannot_be_made_in(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").touch()
    (tmp_path / "file").touch()
    for name, message in (("photos", "photos holds other things than an index"), ("file", "file is a file, but an index is a folder")):
        with pytest.raises(DataError, match=message):
            IndexWriter(tmp_path / name, "tiny", "print-1", WIDTH)
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["a.png"]


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "lock").touch()  # all that a build which was killed at once leaves
    with IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH), pytest.raises(DataError, match="another process is writing the index"):
        IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH)
    build(tmp_path / "index", some(2))


def test_another_models_index_is_left_alone(tmp_path: Path) -> None:
    build(tmp_path / "index", some(5))
    for ask in (lambda: Index.open(tmp_path / "index", "print-2"), lambda: IndexWriter(tmp_path / "index", "other", "print-2", WIDTH)):
        with pytest.raises(CheckpointError, match=r"rows of the model tiny \(print-1\)"):
            ask()
    holds(tmp_path / "index", some(5))


def test_another_models_draft_is_thrown_away_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "index", some(8), stop_after=4)
    with IndexWriter(tmp_path / "index", "other", "print-2", 5) as writer:
        assert not writer.known("0.png", "1")
        writer.add(["0.png"], ["1"], np.ones((1, 5)))
        index = writer.finish()
    np.testing.assert_allclose(index.rows, [[5**-0.5] * 5], atol=1e-6)
    assert not caplog.messages  # it is not damaged
