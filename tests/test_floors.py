"""The structure: imports go down only, sibling methods do not know one another, and every name in the table of floors exists."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cliptune

ROOT = Path(cliptune.__file__).parent
FLOORS = [  # from the ground up; docs/architecture.md says what lives on each
    {"errors", "described", "help", "launcher", "archive", "trust", "whole"},
    {"images", "preprocess", "towers", "pretrained", "backbone", "projections", "attention", "targets", "adapters", "prompts"}
    | {"distributed", "similarity", "chunks", "blocks"},
    {
        "methods.base",
        "methods.full",
        "methods.lora",
        "methods.prompt_tuning",
        "methods.linear_probe",
        "logistic",
        "audit",
        "metrics",
        "optim",
    }
    | {
        f"data.{name}"
        for name in ("digits", "features", "shots", "sources", "columns", "classes", "batches", "views", "opening", "arguments", "images")
    }
    | {
        f"objectives.{name}"
        for name in ("base", "positives", "pull", "lse", "info_nce", "contrastive", "sigmoid", "cross_entropy", "l2sp", "sum")
    }
    | {f"objectives.{name}" for name in ("feature_distillation", "similarity_distillation")}
    | {f"data.{name}" for name in ("negatives", "words", "cache", "store", "shelf", "shelf_files", "table", "locks")},
    {"checkpoint", "frozen", "teacher", "rows", "evaluation", "shard", "advice", "module", "adapted", "loading", "rescore"}
    | {"image_sources", "inputs", "stream", "nearest", "index", "index_writer"},
    {"run", "logs", "callbacks", "pictures", "predictions", "summary", "processes", "devices", "stopping", "safe_io", "extension"}
    | {"partial", "writers", "predicting", "soup", "gallery", "push"}
    | {f"export.{name}" for name in ("base", "samples", "proof", "blend", "card", "licences", "intervals", "encoders", "tokenizers")}
    | {f"export.{name}" for name in ("open_clip", "transformers", "transformers_clip", "transformers_siglip", "onnx", "peft")}
    | {f"export.{name}" for name in ("classifier", "torch_export", "exporting", "readers.reading")}
    | {f"export.readers.read_{name}" for name in ("open_clip", "transformers", "onnx", "peft", "classifier", "torch_export")},
    {"parse_errors", "call", "cli", "launch"} | {f"commands.{name}" for name in ("cache", "export", "soup", "predict", "index", "search")},
    {"main", "__main__"},
]
FLOOR = {name: i for i, floor in enumerate(FLOORS) for name in floor}
MODULES = sorted(".".join(file.relative_to(ROOT).with_suffix("").parts) for file in ROOT.rglob("*.py") if file.name != "__init__.py")


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
