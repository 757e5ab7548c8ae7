"""An index that is read: whole and of the right model, or refused in one line; and as it was, while it is replaced."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from indexes import WIDTH, build, holds, of_rows, row_of, sample, some

from cliptune import index as index_module
from cliptune.errors import CheckpointError, CliptuneError, ConfigError, DataError
from cliptune.index import Index
from cliptune.index_writer import IndexWriter


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


def test_names_come_back_whatever_they_hold(tmp_path: Path) -> None:
    names = ["a b.png", "zwei\nZeilen.jpg", 'q"\\uote.png', "고양이/📷.webp", os.fsdecode(b"caf\xe9.png"), "x" * 5000]
    build(tmp_path / "index", dict.fromkeys(names, "1"))
    paths = Index.open(tmp_path / "index").paths
    assert list(paths) == names
    assert (paths[-1], paths[-6], paths[np.int64(3)], len(paths)) == (names[-1], names[0], names[3], 6)
    with pytest.raises(IndexError):
        paths[6]
    assert build(tmp_path / "index", dict.fromkeys(names, "1")) == []


def test_index_json_says_what_the_rows_are(tmp_path: Path) -> None:
    build(tmp_path / "index", some(5))
    about = Index.open(tmp_path / "index", fingerprint="print-1").about
    wanted = {"format": 1, "model": "tiny", "fingerprint": "print-1", "width": WIDTH, "count": 5}
    assert wanted.items() <= about.items()
    assert about["version"]


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
