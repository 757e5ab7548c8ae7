"""The structure: imports go down only, sibling methods do not know one another, and every name in the table of floors exists."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cliptune

ROOT = Path(cliptune.__file__).parent
FLOORS = [  # from the ground up; docs/architecture.md says what lives on each
    {"errors", "described", "help", "launcher", "archive", "trust", "whole", "shipped", "lean", "uncompiled", "unfilled"},
    {
        "images",
        "preprocess",
        "towers",
        "pretrained",
        "backbone",
        "projections",
        "low_rank",
        "adapted_linear",
        "attended",
        "attention",
        "targets",
        "adapters",
        "packing",
        "pooled",
        "batch_first",
        "halves",
        "prompts",
        "learned_words",
    }
    | {"distributed", "similarity", "chunks", "blocks", "augment", "dicom", "retries", "hub"},
    {
        "methods.base",
        "methods.full",
        "methods.lora",
        "methods.prompt_tuning",
        "methods.linear_probe",
        "logistic",
        "audit",
        "metrics.*",
        "optim",
    }
    | {"data.*", "objectives.*"},
    {"checkpoint", "frozen", "teacher", "rows", "evaluation", "shard", "advice", "scoring", "module", "adapted", "loading", "rescore"}
    | {"image_sources", "inputs", "measures.*", "evaluate", "outcomes", "stream", "uncertainty", "nearest", "index", "index_writer"}
    | {"guard_sets", "named_data", "fixed", "guards", "blend", "curve"},
    {"run", "logs", "callbacks", "pictures", "predictions", "summary", "processes", "devices", "stopping", "safe_io", "extension"}
    | {"changes", "course", "measuring", "phases", "scores", "seeds", "tables", "unreadable"}
    | {"partial", "writers", "predicting", "soup", "gallery", "push"}
    | {"export.*", "doctor.*", "page.*", "comparison.*", "report.*", "sweep.*"},
    {"parse_errors", "call", "cli", "quiet", "launch", "commands.*"},
    {"main", "__main__"},
]
MODULES = sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.rglob("*.py") if file.name != "__init__.py")
NAMED = {name: i for i, floor in enumerate(FLOORS) for name in floor}  # `data.*` is all that lies in the folder data


def floor_of(module: str) -> int | None:
    """The floor of a module: its own, or that of the folder it lies in."""
    folders = [f"{module.rsplit('.', count)[0]}.*" for count in range(1, module.count(".") + 1)]
    return next((NAMED[name] for name in (module, *folders) if name in NAMED), None)


FLOOR = {module: floor for module in MODULES if (floor := floor_of(module)) is not None}


def imports(tree: ast.AST) -> Iterator[str]:
    """cliptune's modules that a file imports, less those for type checkers alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cliptune":
            base = (node.module or "").removeprefix("cliptune").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".removeprefix(".")
                yield inner if inner in FLOOR else base
        elif isinstance(node, ast.Import):
            yield from (alias.name.removeprefix("cliptune.") for alias in node.names if alias.name.startswith("cliptune."))
        else:
            yield from imports(node)


def test_every_module_has_a_floor() -> None:
    assert set(MODULES) == set(FLOOR)
    assert [name for name in NAMED if not any(module == name or module.startswith(name.removesuffix("*")) for module in MODULES)] == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    file = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    for other in imports(ast.parse(file.read_text(encoding="utf-8"))):
        if other:
            assert FLOOR[other] <= FLOOR[module], f"{module} imports {other} from a higher floor"
            siblings = {part.rpartition(".")[0] for part in (module, other)} == {"methods"}
            assert not siblings or other == "methods.base", f"{module} imports its sibling {other}"


def test_public_names_are_lazy_and_there() -> None:
    for name in cliptune.__all__:
        assert getattr(cliptune, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        cliptune.nothing  # noqa: B018
