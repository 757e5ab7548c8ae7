"""Every command of the docs and cards is run as a reader would, page by page, unless it is marked as needing the network."""

import re
import shutil
from pathlib import Path

import pytest
from doc_commands import ROOT, check_command, fenced, lines_of, needs_network, words_of
from docs_folder import BRIEF, SHARED, make, make_runs, write_excerpts
from docs_shortened import ON_NANO, run_command
from test_docs import NAMES

import cliptune.seeds
from cliptune.main import main

PAGES = [name for name in NAMES[1:] if any(map(words_of, lines_of((ROOT / name).read_text(encoding="utf-8"))))]
READ_ONLY = {
    "torchrun --nnodes 2": "two machines of eight devices each",
    "srun": "tasks that SLURM starts on two machines",
}  # how lines start that one machine cannot run, and why: these are read by their parsers, in test_docs.py too


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for `../shared`."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no {SHARED}")
    folder = tmp_path_factory.mktemp("shared")
    write_excerpts(folder / "data")
    return folder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh reader's folder, as the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["cliptune"])  # Lightning warns of others
    monkeypatch.setattr("webbrowser.open", lambda url: True)
    monkeypatch.setattr(cliptune.seeds, "_in_process", main)  # not a Python of its own for a seed, which takes a while to import
    make(tmp_path / "here")
    return tmp_path / "here"


def run_page(text: str) -> int:
    """Run the commands of a page in its order, each of which must succeed; gives their number."""
    ran = 0
    for line in lines_of(text):
        words = words_of(line)
        if not words:
            continue
        if line.text.startswith(tuple(READ_ONLY)):
            check_command(words)
        elif not needs_network(line) or line.text in ON_NANO:
            assert run_command(words) == 0, line.text
            ran += 1
    return ran


@pytest.mark.timeout(1800)  # a page is many commands, and other tests may take the cores
@pytest.mark.parametrize("name", PAGES)
def test_every_command_of_a_page_runs(name: str, folder: Path, request: pytest.FixtureRequest) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    if "/offline" in text or "../shared/data" in text:
        (folder.parent / "shared").symlink_to(request.getfixturevalue("shared"))
    if name == "docs/compare.md":
        make_runs()
    assert run_page(text) > 0


def test_the_python_of_every_page_runs(folder: Path) -> None:
    assert main(f"fit --config own.yaml --model.method LinearProbe --trainer.max_epochs 1 {BRIEF}".split()) == 0
    assert main(["index", "runs/own", "my_images", "--output", "index"]) == 0
    for name in ("a.jpg", "b.jpg"):
        shutil.copyfile("my_images/cat/1.jpg", name)
    codes = [code for name in NAMES[1:] for code in fenced("python", (ROOT / name).read_text(encoding="utf-8"))]
    assert codes
    for code in codes:
        exec(code, {"images": ["a.jpg"]})


def test_the_template_for_a_table_runs_with_the_words_that_need_no_network(folder: Path) -> None:
    assert main(["recipes", "copy", "your-own", "mine"]) == 0
    rows = [f"my_images/{kind}/{i}.jpg,a {kind} by number {i}" for kind in ("cat", "dog") for i in range(1, 13)]
    Path("captions.csv").write_text("\n".join(["file_name,caption", *rows]), encoding="utf-8")
    text = Path("mine/table.yaml").read_text(encoding="utf-8")
    words = re.search(r"# Needs: the network for the weights, once; `([^`]+)` needs none", text)
    assert words is not None
    assert main(f"fit --config mine/table.yaml {words[1]} --trainer.max_epochs 1 {BRIEF}".split()) == 0
    assert Path("runs/mine/summary.json").is_file()


def test_what_is_not_run_as_it_stands_is_in_the_docs() -> None:
    texts = [line.text for name in PAGES for line in lines_of((ROOT / name).read_text(encoding="utf-8"))]
    assert set(ON_NANO) <= set(texts)
    for start in READ_ONLY:
        assert any(text.startswith(start) for text in texts), start


@pytest.mark.parametrize("line", ["cliptune compare runs", "cliptune fit --config lora --data.path nothing/  # needs no network"])
def test_a_command_that_fails_fails_its_page(line: str, folder: Path) -> None:
    with pytest.raises(AssertionError):
        run_page(f"```bash\n{line}\n```\n")
