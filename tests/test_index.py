"""The index: search gives what comparing with every row gives; a kill at any moment costs neither rows nor the old index."""

import errno
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from cliptune import index as index_module
from cliptune import index_writer, nearest
from cliptune.data.shelf_files import ShelfFiles
from cliptune.errors import CheckpointError, CliptuneError, ConfigError, DataError
from cliptune.index import Index
from cliptune.index_writer import IndexWriter

WIDTH = 32
Images = dict[str, str]  # stamps by name


def row_of(name: str, stamp: str) -> np.ndarray:
    row = np.random.default_rng(crc32(f"{name} {stamp}".encode("utf-8", "replace"))).standard_normal(WIDTH).astype(np.float32)
    return row / np.linalg.norm(row)


def build(folder: Path, images: Images, stop_after: int | None = None, batch: int = 4) -> list[str]:
    """Bring an index up to date as a command would, or be killed after so many new images. Gives the names of those encoded."""
    encoded: list[str] = []
    names = list(images)
    with IndexWriter(folder, "tiny", "print-1", WIDTH) as writer:
        for start in range(0, len(names), batch):
            new = [name for name in names[start : start + batch] if not writer.known(name, images[name])]
            if stop_after is not None and len(encoded) + len(new) > stop_after:
                raise KeyboardInterrupt
            encoded += new
            writer.add(new, [images[name] for name in new], [row_of(name, images[name]) for name in new])
        writer.finish()
    return encoded


def of_rows(folder: Path, rows: np.ndarray) -> Index:
    with IndexWriter(folder, "tiny", "print-1", rows.shape[1]) as writer:
        writer.add([f"{i}.png" for i in range(len(rows))], ["1"] * len(rows), rows)
        return writer.finish()


def sample(count: int, seed: int = 0, width: int = WIDTH) -> np.ndarray:
    """Unit rows in clusters of about ten."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(9).standard_normal((max(count // 10, 1), width))
    rows = centres[draw.integers(0, len(centres), count)] + 0.5 * draw.standard_normal((count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def reference(rows: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The whole matrix in float64, sorted."""
    scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    numbers = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, numbers, axis=1), numbers


def holds(folder: Path, images: Images) -> None:
    """The index is whole and has these images in this order, each with its row."""
    index = Index.open(folder)
    assert list(index.paths) == list(images)
    np.testing.assert_allclose(index.rows, [row_of(*image) for image in images.items()], atol=1e-6)
    scores, numbers = index.search(index.rows, k=1)
    np.testing.assert_array_equal(numbers[:, 0], np.arange(len(images)))
    np.testing.assert_allclose(scores, 1, atol=1e-6)


def some(count: int, stamp: str = "1") -> Images:
    return {f"{i}.png": stamp for i in range(count)}


def content(folder: Path) -> dict[str, bytes]:
    """The files of the index's part, and the other entries of the folder."""
    part = Index.open(folder).part
    return {file.name: file.read_bytes() for file in part.iterdir()} | {path.name: b"" for path in folder.iterdir() if path != part}


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("cliptune"), "propagate", True)
    caplog.set_level(logging.WARNING, logger="cliptune")
    return caplog


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of rows counts as too many for exact search."""
    monkeypatch.setattr(index_module, "EXACT_VALUES", 0)


# Search


@pytest.mark.parametrize(("count", "k"), [(1, 1), (99, 10), (100, 5), (1003, 10), (1003, 700)])
def test_exact_search_is_sorting_all_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, k: int) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 100)
    monkeypatch.setattr(nearest, "QUERIES", 7)
    index, queries = of_rows(tmp_path / "index", sample(count)), sample(20, seed=1)
    scores, numbers = index.search(queries, k)
    wanted = reference(index.rows, queries, k)
    np.testing.assert_array_equal(numbers, wanted[1])
    np.testing.assert_allclose(scores, wanted[0], atol=1e-6)  # a cosine's float32
    assert (scores.dtype, numbers.dtype) == (np.float32, np.int64)


def test_equal_rows_come_in_their_order_over_the_bounds_of_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "BLOCK", 10)
    rows = np.tile(np.eye(WIDTH, dtype=np.float32)[:2], (50, 1))  # [100, D], first and second axis in turns
    scores, numbers = of_rows(tmp_path / "index", rows).search(rows[1:2], k=60)
    assert numbers[0].tolist() == [*range(1, 100, 2), *range(0, 20, 2)]
    assert scores[0].tolist() == [1.0] * 50 + [0.0] * 10


def test_fewer_images_than_asked_are_all_given(tmp_path: Path) -> None:
    scores, numbers = of_rows(tmp_path / "index", sample(3)).search(sample(2, seed=1), k=10)
    assert scores.shape == numbers.shape == (2, 3)
    assert np.sort(numbers).tolist() == [[0, 1, 2]] * 2


def test_queries_may_be_tensors_of_any_length_and_precision(tmp_path: Path) -> None:
    import torch  # not above, for the processes that are killed

    index, queries = of_rows(tmp_path / "index", sample(50)), sample(4, seed=1)
    tensor = torch.tensor(5 * queries, dtype=torch.bfloat16).requires_grad_()
    scores, numbers = index.search(tensor, k=3)
    wanted = reference(index.rows, queries, 3)
    np.testing.assert_allclose(scores, wanted[0], atol=0.01)  # eight bits of mantissa
    np.testing.assert_array_equal(numbers[:, 0], wanted[1][:, 0])


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("width", [24, 33])
def test_codes_find_what_exact_search_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    rows, queries = np.tile(sample(1500, width=width), (2, 1)), sample(200, seed=1, width=width)  # each row twice
    index = of_rows(tmp_path / "index", rows)
    assert (index.part / "ann.faiss").is_file()
    exact = index.search(queries, exact=True)

    def not_asked(*_: object) -> None:
        raise AssertionError("compared with every row")

    monkeypatch.setattr(nearest, "_by_blocks", not_asked)
    found = index.search(queries)
    np.testing.assert_array_equal(found[1], exact[1])
    np.testing.assert_array_equal(found[0], exact[0])
    with pytest.raises(AssertionError, match="every row"):
        index.search(queries, exact=True)
    with pytest.raises(AssertionError, match="every row"):  # so many candidates cost more than exact search
        index.search(queries, k=1000)


@pytest.mark.usefixtures("large")
def test_codes_serve_texts_which_lie_elsewhere_than_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CLIP's images lie in a narrow cone and its texts in another: lists around images (IVF) do not have what is near a text together."""
    monkeypatch.setattr(nearest, "FOUND_FEWEST", 0)
    draw, shared = np.random.default_rng(0), np.eye(WIDTH)[0]
    rows, queries = 20 * shared + draw.standard_normal((3000, WIDTH)), -2 * shared + draw.standard_normal((100, WIDTH))
    index = of_rows(tmp_path / "index", rows)
    exact, found = index.search(queries, exact=True)[1], index.search(queries)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, found, strict=True)])
    assert recall > 0.95, recall  # 0.98; 0.75 with half the bits, 0.56 with lists


@pytest.mark.usefixtures("large")
def test_without_faiss_search_is_exact_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    of_rows(tmp_path / "index", sample(1000))
    for module in (index_module, index_writer):
        monkeypatch.setattr(module, "has_faiss", lambda: False)
    index, queries = Index.open(tmp_path / "index"), sample(5, seed=1)
    for _ in range(2):
        np.testing.assert_array_equal(index.search(queries)[1], reference(index.rows, queries, 10)[1])
    assert said.messages == [
        "faiss is not installed: 1,000 rows are compared one by one, which takes longer. Install it: pip install 'cliptune[search]'"
    ]


@pytest.mark.usefixtures("large")
def test_an_index_made_without_faiss_gets_its_codes_from_the_next_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as without:
        without.setattr(index_writer, "has_faiss", lambda: False)
        build(tmp_path / "index", some(1000), batch=100)
    assert "pip install 'cliptune[search]'" in said.text
    said.clear()
    Index.open(tmp_path / "index").search(sample(1))
    assert said.messages == [
        f"the index {tmp_path / 'index'} was made without faiss: 1,000 rows are compared one by one, which takes longer. "
        "Run `cliptune index` again."
    ]
    before = (tmp_path / "index" / "index.json").read_bytes()
    assert build(tmp_path / "index", some(1000)) == []
    assert (Index.open(tmp_path / "index").part / "ann.faiss").is_file()
    assert (tmp_path / "index" / "index.json").read_bytes() == before


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("damage", ["cut", "another's"])
def test_damaged_codes_cost_time_only(tmp_path: Path, said: pytest.LogCaptureFixture, damage: str) -> None:
    index = of_rows(tmp_path / "index", sample(1000))
    file = index.part / "ann.faiss"
    other = of_rows(tmp_path / "other", sample(999)).part / "ann.faiss"
    file.write_bytes(file.read_bytes()[:-100] if damage == "cut" else other.read_bytes())
    queries = sample(5, seed=1)
    np.testing.assert_array_equal(index.search(queries)[1], reference(index.rows, queries, 10)[1])
    assert f"{file} is damaged" in said.text


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda index: index.search(np.ones((1, WIDTH)), k=0), ConfigError, "k is 0, but must be 1 or more"),
        (lambda index: index.search(np.ones((1, 5))), CheckpointError, "queries have 5 values, but the rows of .* have 32. .*model, tiny"),
        (lambda index: index.search([[np.nan] * WIDTH]), DataError, "query 0 has length nan"),
        (lambda index: index.search(np.zeros((1, WIDTH))), DataError, "query 0 has length 0"),
        (lambda index: index.check_model("print-2"), CheckpointError, r"rows of the model tiny \(print-1\), .* another \(print-2\)"),
    ],
)
def test_what_search_refuses(tmp_path: Path, ask: Callable[[Index], object], error: type[CliptuneError], message: str) -> None:
    index = of_rows(tmp_path / "index", sample(3))
    index.check_model("print-1")
    with pytest.raises(error, match=message) as caught:
        ask(index)
    assert "\n" not in str(caught.value)


# Names


def test_names_come_back_whatever_they_hold(tmp_path: Path) -> None:
    names = ["a b.png", "zwei\nZeilen.jpg", 'q"\\uote.png', "고양이/📷.webp", os.fsdecode(b"caf\xe9.png"), "x" * 5000]
    build(tmp_path / "index", dict.fromkeys(names, "1"))
    paths = Index.open(tmp_path / "index").paths
    assert list(paths) == names
    assert (paths[-1], paths[-6], paths[np.int64(3)], len(paths)) == (names[-1], names[0], names[3], 6)
    with pytest.raises(IndexError):
        paths[6]
    assert build(tmp_path / "index", dict.fromkeys(names, "1")) == []


# Building


def test_index_json_says_what_the_rows_are(tmp_path: Path) -> None:
    build(tmp_path / "index", some(5))
    about = Index.open(tmp_path / "index", fingerprint="print-1").about
    wanted = {"format": 1, "model": "tiny", "fingerprint": "print-1", "width": WIDTH, "count": 5}
    assert wanted.items() <= about.items()
    assert about["version"]


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
import test_index
sync, left = os.fsync, {number}
def fsync(handle):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    sync(handle)
os.fsync = fsync
test_index.build(Path({folder!r}), test_index.some(8, "2"))
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


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("file", ["rows.bin", "keys.bin", "names.jsonl", "ann.faiss", "index.json"])
def test_a_build_killed_at_its_end_computes_nothing_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    before, after = some(700), {**some(700, "2"), **some(600)}  # no draft as it is: rows of both
    build(tmp_path / "index", before, batch=100)
    kept = content(tmp_path / "index")
    write = {"ann.faiss": "write_codes"}.get(file, "_write_whole")
    real = getattr(index_writer, write)

    def killed(*arguments: object) -> None:
        place = next(part for part in arguments if isinstance(part, Path))
        real(*arguments) if place.name.removesuffix(".tmp") != file else place.with_name(f"{file}.tmp").write_bytes(b"begun")
        if place.name.removesuffix(".tmp") == file:
            raise KeyboardInterrupt

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


def test_an_open_index_goes_on_answering_while_it_is_replaced(tmp_path: Path) -> None:
    build(tmp_path / "index", some(6))
    old = Index.open(tmp_path / "index")
    with IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH) as writer:
        writer.add(["new.png"], ["1"], [row_of("new.png", "1")])
        holds(tmp_path / "index", some(6))
        writer.finish()
    assert old.paths[5] == "5.png"
    assert old.search([row_of("5.png", "1")], k=1)[1].tolist() == [[5]]
    holds(tmp_path / "index", {"new.png": "1"})


def test_an_index_that_is_replaced_while_it_is_opened_is_read_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "index", some(6))
    stale = index_module.read_about(tmp_path / "index")
    build(tmp_path / "index", some(3))
    abouts = [stale, index_module.read_about(tmp_path / "index")]
    monkeypatch.setattr(index_module, "read_about", lambda folder: abouts.pop(0))
    assert len(Index.open(tmp_path / "index")) == 3


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


# Refusals


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


def test_another_models_draft_is_thrown_away_without_a_word(tmp_path: Path, said: pytest.LogCaptureFixture) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "index", some(8), stop_after=4)
    with IndexWriter(tmp_path / "index", "other", "print-2", 5) as writer:
        assert not writer.known("0.png", "1")
        writer.add(["0.png"], ["1"], np.ones((1, 5)))
        index = writer.finish()
    np.testing.assert_allclose(index.rows, [[5**-0.5] * 5], atol=1e-6)
    assert not said.messages  # it is not damaged


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: cut(folder / "part-1" / "rows.bin"), "rows.bin has 639 bytes, but was written with 640"),
        (lambda folder: cut(folder / "part-1" / "keys.bin"), "keys.bin has 79 bytes, but was written with 80"),
        (lambda folder: cut(folder / "part-1" / "names.jsonl"), "names.jsonl has 39 bytes"),
        (lambda folder: (folder / "part-1" / "names.jsonl").unlink(), "names.jsonl is missing"),
        (lambda folder: cut(folder / "index.json"), "index.json is not what was written"),
        (lambda folder: (folder / "index.json").write_text("[]"), "index.json is not what was written"),
        (lambda folder: (folder / "index.json").write_text('{"format": 1, "count": 5}'), "index.json lacks version, model, fingerprint"),
    ],
)
def test_a_damaged_index_is_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    build(tmp_path / "index", some(5))
    damage(tmp_path / "index")
    for ask in (lambda: Index.open(tmp_path / "index"), lambda: IndexWriter(tmp_path / "index", "tiny", "print-1", WIDTH)):
        with pytest.raises(DataError, match=message) as caught:
            ask()
        assert str(caught.value).startswith(f"the index {tmp_path / 'index'} is damaged: ")
        assert str(caught.value).endswith("Remove the folder, and make it again with `cliptune index`.")


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(DataError, match=f"there is no index in {folder}. Make one with `cliptune index`"):
            Index.open(folder)


def test_a_newer_index_is_refused(tmp_path: Path) -> None:
    build(tmp_path / "index", some(5))
    file = tmp_path / "index" / "index.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 2, "version": "9.9"}))
    with pytest.raises(CheckpointError, match=r"was written by cliptune 9.9, newer than this .* Upgrade"):
        Index.open(tmp_path / "index")


def test_an_index_needs_no_torch() -> None:
    code = "import sys, cliptune.index, cliptune.index_writer; sys.exit('torch' in sys.modules or 'faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
