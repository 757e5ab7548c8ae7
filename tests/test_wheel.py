"""The wheel: built without network or isolation, it has what a checkout has, and its recipes are listed and copied from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="needs the dev extra")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, text=True)
    (wheel,) = folder.glob("cliptune-*.whl")
    with zipfile.ZipFile(wheel) as held:
        held.extractall(folder / "site")
    return folder / "site"


def ran(unpacked: Path, cwd: Path, *words: str) -> str:
    """What a fresh process says whose cliptune is the unpacked one."""
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, check=True, capture_output=True, text=True).stdout


def test_every_recipe_and_config_is_in_the_wheel(unpacked: Path) -> None:
    for kind in ("configs", "recipes"):
        files = {file.relative_to(ROOT) for file in (ROOT / kind).rglob("*") if file.is_file() and "__pycache__" not in file.parts}
        assert files <= {file.relative_to(unpacked / "cliptune") for file in (unpacked / "cliptune" / kind).rglob("*")}


def test_the_wheels_recipes_are_listed_and_copied(unpacked: Path, tmp_path: Path) -> None:
    place = ran(unpacked, tmp_path, "-c", "import cliptune; print(cliptune.__file__)")
    assert Path(place.strip()) == unpacked / "cliptune" / "__init__.py"
    recipe = unpacked / "cliptune" / "recipes" / "your-own" / "folder.yaml"
    recipe.write_text(f"# Out of the wheel: {recipe.read_text(encoding='utf-8').removeprefix('# ')}", encoding="utf-8")
    listed = ran(unpacked, tmp_path, "-m", "cliptune", "recipes", "list")
    assert "medical/ham10000" in listed
    assert "Out of the wheel" in listed
    copied = ran(unpacked, tmp_path, "-m", "cliptune", "recipes", "copy", "your-own", "mine")
    assert "next:  cliptune fit --config mine/folder.yaml" in copied
    assert (tmp_path / "mine" / "folder.yaml").read_text(encoding="utf-8").startswith("# Out of the wheel")
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"README.md", "folder.yaml", "table.yaml"}


def test_the_wheel_says_its_version(unpacked: Path, tmp_path: Path) -> None:
    (metadata,) = unpacked.glob("*.dist-info/METADATA")
    (version,) = (line.split()[1] for line in metadata.read_text(encoding="utf-8").splitlines() if line.startswith("Version:"))
    assert version in ran(unpacked, tmp_path, "-m", "cliptune", "--version")
