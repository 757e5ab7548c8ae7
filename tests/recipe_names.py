"""The recipes of the checkout by name, and what `fit` makes of them."""

from pathlib import Path
from typing import Any

import yaml

from cliptune.launch import resolved
from cliptune.shipped import OVERLAYS

ROOT = Path(__file__).parents[1]
RECIPES = [str(file.relative_to(ROOT / "recipes").with_suffix("")) for file in sorted((ROOT / "recipes").rglob("*.yaml"))]
WHOLE = [name for name in RECIPES if Path(name).name not in OVERLAYS]
SETS = sorted({str(Path(name).parent) for name in WHOLE if not name.startswith("your-own")})


def config(*names: str) -> dict[str, Any]:
    words = [word for name in names for word in ("--config", name)]
    found: dict[str, Any] = yaml.safe_load(resolved(["fit", *words]))
    return found
