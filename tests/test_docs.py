"""The site builds without a warning and without the network; every command and config of the docs and cards is one that there is.

Commands and Python are only read here, words of other programs too; `test_docs_run.py` runs them, `test_configs.py` the README's.
"""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from doc_commands import ROOT, check_command, check_fit, fenced, lines_of, needs_network, words_of
from PIL import Image

import cliptune
from cliptune.errors import ConfigError

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "recipes").rglob("README.md")),
]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
OWN = "model: {backbone: {name: nano}, objective: CrossEntropy}\ndata: {path: my_images/}\n"  # what stands for a reader's own config
OTHERS = r"python3 -m venv .venv|\.venv/bin/pip install -e \.|cp .+|#SBATCH .+"  # lines of other programs that need nothing
SECTIONS = {"model", "data", "trainer", "watch", "run", "guard", "evaluation", "seed_everything", "seeds"}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a reader of the docs has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.argv", ["cliptune"])  # Lightning warns of others
    for name in ("own", "mine", "fixed", "mine/folder", "mine/table"):
        file = tmp_path / f"{name}.yaml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(OWN, encoding="utf-8")
    (tmp_path / "my_images" / "cat").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "my_images" / "cat" / "1.jpg")
    return tmp_path


@pytest.mark.parametrize("name", NAMES[1:])  # the README's are in test_configs.py
def test_every_command_is_one_that_there_is_or_is_marked_as_needing_the_network(name: str, reader: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = (ROOT / name).read_text(encoding="utf-8")
    for block in fenced("yaml", text):
        if "path: my_images/" in block:  # the reader's own config, as the page shows it
            Path("own.yaml").write_text(block, encoding="utf-8")
    for line in lines_of(text):
        words = words_of(line)
        if words:
            try:
                check_command(words)
            except ConfigError as error:
                pytest.fail(f"{line.text}\n{error}")
        elif line.text.startswith("make "):
            assert re.search(rf"^{line.text.split()[1]}:", makefile, flags=re.MULTILINE), line.text
        elif line.text.startswith("python "):
            script = line.text.split()[1]
            assert (ROOT / script).is_file() or list((ROOT / "recipes").rglob(Path(script).name)), line.text
        else:
            assert needs_network(line) or re.fullmatch(OTHERS, line.text), f"{line.text}: mark it with '# needs the network'"


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_read_as_it_stands(name: str, reader: Path) -> None:
    for block in fenced("yaml", (ROOT / name).read_text(encoding="utf-8")):
        config = yaml.safe_load(block)
        if isinstance(config, dict) and set(config) <= SECTIONS:
            file = reader / f"block-{abs(hash(block))}.yaml"
            file.write_text(block, encoding="utf-8")
            check_fit(("--config", str(file)))


@pytest.mark.parametrize("name", NAMES)
def test_python_of_the_docs_uses_what_there_is(name: str) -> None:
    for code in fenced("python", (ROOT / name).read_text(encoding="utf-8")):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cliptune":
                assert hasattr(cliptune, node.attr), node.attr
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "model":
                assert hasattr(cliptune.AdaptedCLIP, node.attr), node.attr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("cliptune fit --config digits --model.lr 3", "model.lr"),
        ("cliptune fit --config dogits", "digits"),
        ("cliptune predict runs/own images --topk 2", "--top-k"),
        ("cliptune cache clear --older 3", "--older-than"),
        ("cliptune sweep --config lora --shots many", "many"),
        ("cliptune doctor --config lora --data.pth x", "data.pth"),
    ],
)
def test_a_wrong_command_would_be_found(words: str, told: str, reader: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        check_command(words.split())


def test_the_api_page_has_every_public_name() -> None:
    shown = re.findall(r"^::: cliptune\.(\w+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(shown) == sorted(set(cliptune.__all__) - {"__version__"})


def test_every_page_is_in_the_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    for file in [*(ROOT / "docs").glob("*.md"), *(ROOT / "recipes").rglob("README.md")]:
        assert file.relative_to(ROOT).as_posix().removeprefix("docs/") in menu


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built; warnings are errors."""
    for needed in ("mkdocs", "material", "mkdocstrings_handlers", "latex2mathml"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed, so the site is not built: pip install 'cliptune[docs]'")
    folder = tmp_path_factory.mktemp("site")
    # not --quiet: it hides warnings from --strict too
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_every_page_and_the_cards(site: Path) -> None:
    for name in ("index", "start", "methods", "troubleshooting", "responsible", "api", "recipes/medical/index", "CONTRIBUTING"):
        assert (site / f"{name}.html").stat().st_size > 5_000, name
    assert "learned words" in (site / "api.html").read_text(encoding="utf-8").replace("<code>", "")
    assert not list(site.rglob("hooks.py"))


def test_the_site_needs_no_network(site: Path) -> None:
    loaded: list[Any] = []
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        loaded += re.findall(r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//[^>]+>", text)
        loaded += re.findall(r"<link(?![^>]*rel=\"?canonical)[^>]* href=\"?(?:https?:)?//[^>]+>", text)
    assert not loaded


def test_formulas_are_drawn_without_a_script(site: Path) -> None:
    page = (site / "methods.html").read_text(encoding="utf-8")
    assert page.count('<div class="formula"><math') >= 5
    assert "```math" not in page
    assert "\\frac" not in page
