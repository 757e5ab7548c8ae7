"""What a job has done, on the disk: whole chunks only, gone on with by the same job and by no other."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cliptune import partial
from cliptune.errors import ConfigError, DataError
from cliptune.partial import Partial, put
from cliptune.writers import LABELS, Chunks, write_jsonl

JOB: dict[str, Any] = {"model": "abc", "classes": ["cat", "dog"]}
pytestmark = pytest.mark.usefixtures("elsewhere")
OUTPUT = Path("out.csv")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "CHUNK_IMAGES", 4)


def batch(*numbers: int) -> pa.Table:
    return pa.table({"name": pa.array([f"{i}.png" for i in numbers], pa.string())})


def killed(job: dict[str, Any] = JOB, output: Path = OUTPUT) -> None:
    """Three batches of two; the last one was in no chunk yet when the process was killed."""
    found = Partial(output, job)
    found.add(batch(0, 1), [])
    found.add(batch(2), [("3.png", "broken")])
    found.add(batch(4, 5), [])
    assert found._lock is not None
    found._lock.release()  # as the system does


def names(found: Partial) -> list[str]:
    return [name for table in Chunks(found.files).tables() for name in table["name"].to_pylist()]


def test_the_same_job_goes_on_after_the_last_whole_chunk() -> None:
    killed()
    (OUTPUT.with_name("out.csv.partial") / ".000000000004-000000000006.parquet.tmp").write_bytes(b"half")
    with Partial(OUTPUT, dict(JOB)) as again:
        assert (again.done, names(again), list(again.failures())) == (4, ["0.png", "1.png", "2.png"], [("3.png", "broken")])
        again.add(batch(4, 5), [("6.png", "gone")])
        files = again.finish(LABELS[".csv"])
    assert files == [OUTPUT, Path("out.failed.csv")]
    assert OUTPUT.read_text() == "name\n0.png\n1.png\n2.png\n4.png\n5.png\n"
    assert Path("out.failed.csv").read_text() == "name,why\n3.png,broken\n6.png,gone\n"
    assert sorted(file.name for file in Path().iterdir()) == ["out.csv", "out.failed.csv"]


def test_what_was_taken_is_kept_when_the_job_fails() -> None:
    first = Partial(OUTPUT, JOB)
    first.add(batch(0, 1), [])
    first.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    with Partial(OUTPUT, JOB) as again:
        assert (again.done, names(again)) == (2, ["0.png", "1.png"])


def test_a_job_that_did_nothing_leaves_nothing() -> None:
    first = Partial(OUTPUT, JOB)
    assert Path("out.csv.partial/job.json").exists()
    first.__exit__(KeyError, KeyError(), None)
    assert list(Path().iterdir()) == []


def test_a_chunk_ends_with_time_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial, "CHUNK_SECONDS", 0.0)
    with Partial(OUTPUT, JOB) as found:
        found.add(batch(0), [])
        found.add(batch(1), [])
        assert [file.name for file in found.files] == ["000000000000-000000000001.parquet", "000000000001-000000000002.parquet"]


def test_chunks_behind_a_gap_do_not_count() -> None:
    killed()
    folder = Path("out.csv.partial")
    (folder / "000000000000-000000000004.parquet").rename(folder / "000000000002-000000000006.parquet")
    with Partial(OUTPUT, JOB) as again:
        assert (again.done, again.files) == (0, [])


def test_another_job_is_told_what_differs_and_touches_nothing() -> None:
    killed()
    before = sorted(Path("out.csv.partial").iterdir())
    with pytest.raises(ConfigError) as caught:
        Partial(OUTPUT, {**JOB, "classes": ["cat", "dog", "x" * 100]})
    assert str(caught.value) == (
        "out.csv.partial holds what another job has done (classes: cat, dog; now: cat, dog, " + "x" * 50 + "...). "
        "Run that one again to its end, give another output, or --overwrite it."
    )
    assert sorted(Path("out.csv.partial").iterdir()) == before
    with Partial(OUTPUT, JOB) as again:
        assert again.done == 4


def test_overwrite_begins_anew_where_the_job_is_another_and_goes_on_where_it_is_the_same() -> None:
    killed()
    OUTPUT.write_text("old")
    with Partial(OUTPUT, JOB, overwrite=True) as same:
        assert same.done == 4
        assert OUTPUT.read_text() == "old"
    with Partial(OUTPUT, {**JOB, "model": "other"}, overwrite=True) as other:
        assert (other.done, other.files) == (0, [])
        other.add(batch(7), [])
        other.finish(LABELS[".csv"])
    assert OUTPUT.read_text() == "name\n7.png\n"


def test_a_file_that_is_there_is_not_written_over() -> None:
    OUTPUT.write_text("old")
    with pytest.raises(ConfigError, match=r"^output out\.csv is there already\. Give another output, or --overwrite it\.$"):
        Partial(OUTPUT, JOB)
    Path("folder.csv").mkdir()
    with pytest.raises(ConfigError, match=r"^output folder\.csv is a folder\. Name a file in it\.$"):
        Partial(Path("folder.csv"), JOB, overwrite=True)
    assert sorted(file.name for file in Path().iterdir()) == ["folder.csv", "out.csv"]


def test_two_processes_do_not_write_the_same() -> None:
    with Partial(OUTPUT, JOB) as first:
        with pytest.raises(ConfigError, match=r"^another process is at work on out\.csv\. Wait for it, or give another output\.$"):
            Partial(OUTPUT, JOB, overwrite=True)
        first.add(batch(0), [])
        first.finish(LABELS[".csv"])
    assert OUTPUT.read_text() == "name\n0.png\n"


def test_what_is_not_ours_in_the_folder_stays() -> None:
    folder = Path("out.csv.partial")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with Partial(OUTPUT, JOB) as found:
        found.add(batch(0), [])
        found.finish(LABELS[".csv"])
    assert [file.name for file in folder.iterdir()] == ["mine.txt"]


def test_formats_without_names_have_them_beside_and_old_failures_go() -> None:
    Path("out.failed.csv").write_text("of an earlier job")
    output = Path("sub/out.npy")
    with Partial(output, JOB) as found:
        found.add(batch(3, 5), [])
        files = found.finish(write_jsonl)
    assert files == [output, Path("sub/out.names.csv")]
    assert files[1].read_text() == "row,name\n0,3.png\n1,5.png\n"
    assert Path("out.failed.csv").exists(), "of another output"
    with Partial(OUTPUT, JOB) as other:
        other.add(batch(0), [])
        other.finish(LABELS[".csv"])
    assert not Path("out.failed.csv").exists()


def test_a_full_disk_is_one_line_and_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    killed()
    OUTPUT.write_text("old")
    message = r"^cannot write out\.csv\.partial/0+4-0+8\.parquet: No space left on device\. Make room, and run the same command again"
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DataError, match=message), Partial(OUTPUT, JOB, overwrite=True) as found:
            found.add(batch(4, 5, 6, 7), [])
        with pytest.raises(DataError, match=r"^cannot write out\.failed\.csv: No space"), Partial(OUTPUT, JOB, overwrite=True) as found:
            found.finish(LABELS[".csv"])
    assert OUTPUT.read_text() == "old"
    with Partial(OUTPUT, JOB, overwrite=True) as found:
        assert found.done == 4


def test_a_file_is_whole_or_as_it_was() -> None:
    OUTPUT.write_bytes(b"old")

    def half(file: Any) -> None:
        file.write(b"ne")
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(DataError, match=r"^cannot write out\.csv: Input/output error\."):
        put(OUTPUT, half)
    assert [(file.name, file.read_bytes()) for file in Path().iterdir()] == [("out.csv", b"old")]
    put(OUTPUT, lambda file: file.write(b"new"))
    assert OUTPUT.read_bytes() == b"new"


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    Path("file").write_text("no folder")
    with pytest.raises(DataError, match=r"^cannot write beside file/out\.csv: .*\. Give an output elsewhere\.$"):
        Partial(Path("file/out.csv"), JOB)


def test_a_job_is_kept_as_plain_data() -> None:
    with Partial(OUTPUT, {"templates": ("a {}",)}):
        assert json.loads(Path("out.csv.partial/job.json").read_text()) == {"templates": ["a {}"]}
    with Partial(OUTPUT, {"templates": ["a {}"]}):
        pass
