"""The commands without a config, as a user runs them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cliptune.data.kept.shelf import Shelf
from cliptune.data.kept.store import RowStore, digests_of
from cliptune.main import main


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RowStore:
    monkeypatch.setenv("CLIPTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CLIPTUNE_CACHE_GB", "3")
    monkeypatch.setenv("COLUMNS", "120")
    return RowStore()


def fill(store: RowStore, rows: int, days: float, **about: str) -> Shelf:
    """A shelf of rows of 1,000 bytes, last used so many days ago."""
    shelf = store.shelf({"backbone": "nano", "tower": "image", "view": "eval", **about}, (250,))
    with shelf.lock():
        assert shelf.append(digests_of(str(i).encode() for i in range(rows)), np.zeros((rows, 250), "float32"))
    os.utime(shelf.folder / "used", (time.time() - days * 86400,) * 2)
    return shelf


def said(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Run a command that must succeed, and give its lines with single spaces."""
    capsys.readouterr()
    assert main(["cache", *words]) == 0
    return [re.sub(r"\s+", " ", line).strip() for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_list_says_what_is_kept_and_how_much_may_be(store: RowStore, capsys: pytest.CaptureFixture[str]) -> None:
    fill(store, 1_500, 3.1)
    fill(store, 200, 1.5, tower="text", view="a [bold] one")
    size = sum(file.stat().st_size for file in store.folder.rglob("*") if file.parent.name != "cache" and file.parent.name != "locks")
    lines = said(capsys, "list")
    assert lines[0].split(" ┃ ") == ["what", "view", "rows", "MB", "last used"]
    assert [line.split(" │ ") for line in lines[2:-1]] == [
        ["nano text", "a [bold] one", "200", "0.2", "1 day ago"],
        ["nano image", "eval", "1,500", "1.5", "3 days ago"],
    ]
    assert lines[-1] == f"{store.folder}: {size / 1e6:.1f} MB of at most 3,000 MB (CLIPTUNE_CACHE_GB sets how many GB)"


@pytest.mark.parametrize(
    ("days", "expected"),
    [(0.0, "just now"), (90 / 86400, "1 minute ago"), (0.1, "2 hours ago"), (1.01, "1 day ago"), (400.5, "400 days ago")],
)
def test_list_says_when_rows_were_used(store: RowStore, capsys: pytest.CaptureFixture[str], days: float, expected: str) -> None:
    fill(store, 1, days)
    assert said(capsys, "list")[2].endswith(f"│ {expected}")


def test_list_shows_a_shelf_that_cannot_be_read_too(store: RowStore, capsys: pytest.CaptureFixture[str]) -> None:
    shelf = fill(store, 1, 0)
    for junk in (b"\xff", b"[]", b'{"about": 3}', b'{"about": {}}'):
        (shelf.folder / "about.json").write_bytes(junk)
        assert said(capsys, "list")[2].startswith(f"unknown ({shelf.folder.name}) │ - │ 1 │")


def test_where_nothing_is_kept_list_and_clear_say_so_and_make_nothing(store: RowStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "list") == [f"{store.folder}: 0.0 MB of at most 3,000 MB (CLIPTUNE_CACHE_GB sets how many GB)"]
    assert said(capsys, "clear") == [f"{store.folder}: 0.0 MB freed"]
    assert not store.folder.exists()


def test_clear_removes_what_is_not_in_use_and_says_what_was_freed(store: RowStore, capsys: pytest.CaptureFixture[str]) -> None:
    gone, kept = fill(store, 1_500, 1), fill(store, 200, 1, tower="text")
    table = kept.table(digests_of([b"0"]))
    assert said(capsys, "clear") == [
        "removed nano image eval: 1,500 rows, 1.5 MB",
        "in use, left: nano text eval, 0.2 MB",
        f"{store.folder}: 1.5 MB freed",
    ]
    assert (gone.folder.exists(), kept.folder.exists()) == (False, True)
    del table
    assert said(capsys, "clear")[-1] == f"{store.folder}: 0.2 MB freed"
    assert store.shelves() == []


@pytest.mark.parametrize("words", [["--older-than", "2.5"], ["--older-than=2.5"]])
def test_clear_leaves_what_is_younger(store: RowStore, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    old, young = fill(store, 1_500, 2.6), fill(store, 200, 2.4, tower="text")
    assert said(capsys, "clear", *words) == ["removed nano image eval: 1,500 rows, 1.5 MB", f"{store.folder}: 1.5 MB freed"]
    assert (old.folder.exists(), young.folder.exists()) == (False, True)


ERRORS = {
    "nothing": ([], "ConfigError: cache needs to be told what to do. There is: list, clear."),
    "sub-command": (["clera"], "ConfigError: there is no command cache clera. Did you mean clear?"),
    "far": (["xyz"], "ConfigError: there is no command cache xyz. There is: list, clear."),
    "option": (["clear", "--older", "3"], "ConfigError: cache clear has no option --older. Did you mean --older-than?"),
    "no options": (["list", "--all"], "ConfigError: cache list has no option --all. It takes none."),
    "word": (["clear", "everything"], "ConfigError: cache clear does not know what everything is for. There is: --older-than."),
    "value": (["clear", "--older-than", "week"], "ConfigError: cache clear --older-than is week, but must be a number."),
    "negative": (["clear", "--older-than", "-1"], "ConfigError: cache clear --older-than is -1, but must be"),
    "not a number": (["clear", "--older-than=nan"], "ConfigError: cache clear --older-than is nan, but must be"),
    "endless": (["clear", "--older-than=inf"], "ConfigError: cache clear --older-than is inf, but must be"),
    "no value": (["clear", "--older-than"], "ConfigError: cache clear --older-than is missing its value."),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_mistake_is_one_line_and_removes_nothing(store: RowStore, capsys: pytest.CaptureFixture[str], case: str) -> None:
    words, expected = ERRORS[case]
    fill(store, 1, 100)
    assert main(["cache", *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(expected)
    assert err.count("\n") == 1
    assert len(store.shelves()) == 1


def test_a_limit_that_is_no_number_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPTUNE_CACHE_GB", "lots")
    assert main(["cache", "list"]) == 2
    assert capsys.readouterr().err == "ConfigError: CLIPTUNE_CACHE_GB is lots, but must be a number of GB. Take 20.\n"


def test_a_cache_that_cannot_be_changed_is_one_line(
    store: RowStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, 1, 0)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    assert main(["cache", "clear"]) == 2
    assert (
        capsys.readouterr().err
        == f"DataError: the cache {store.folder} cannot be cleared: Permission denied. Ask its owner, or remove it.\n"
    )


@pytest.mark.parametrize("words", [["--help"], ["list", "--help"], ["clear", "-h"]])
def test_help_shows_both_and_every_variable(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert main(["cache", *words]) == 0
    shown = capsys.readouterr().out
    for part in ("cache list", "cache clear", "--older-than DAYS", "CLIPTUNE_CACHE,", "XDG_CACHE_HOME", "CLIPTUNE_CACHE_GB"):
        assert part in shown
    assert main(["--help"]) == 0
    assert "cliptune cache list|clear" in capsys.readouterr().out


def test_a_misspelt_command_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cahce"]) == 2
    assert capsys.readouterr().err == "cliptune: there is no command cahce. Did you mean cache?\n"


def test_cache_answers_without_torch_or_lightning(store: RowStore) -> None:
    fill(store, 1, 0)
    code = (
        "import sys; from cliptune.main import main; import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "    assert main(['cache', '--help']) == 0\n"
        "    early = [m for m in ('numpy', 'rich') if m in sys.modules]\n"
        "    assert main(['cache', 'list']) == main(['cache', 'clear']) == 0\n"
        "assert 'nano image' in out.getvalue()\n"
        "print(early, [m for m in ('torch', 'lightning', 'open_clip', 'datasets', 'jsonargparse') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_it_runs_as_a_module(store: RowStore) -> None:
    fill(store, 1, 0)
    done = subprocess.run([sys.executable, "-m", "cliptune", "cache", "list"], capture_output=True, text=True, check=True)
    assert "nano image" in done.stdout
    assert done.stderr == ""
