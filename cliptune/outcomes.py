"""The answers of a split as a file in the run folder, so that reports and comparisons need neither model nor data."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from cliptune.errors import CheckpointError
from cliptune.metrics.answers import Answers, ClassAnswers, RetrievalAnswers
from cliptune.whole import write_whole

FOLDER = "evaluation"
PARTS: dict[str, Any] = {"classes": ClassAnswers, "retrieval": RetrievalAnswers}
LEFT_OUT = ("probabilities",)  # of every class: 4 GB for a million images of a thousand


def write_answers(file: Path, answers: Answers) -> None:
    """Write them, whole or not at all; without the probabilities of all classes."""
    tensors: dict[str, Tensor] = {}
    for part in PARTS:
        found = getattr(answers, part)
        for field in fields(found) if found is not None else ():
            value = getattr(found, field.name)
            if field.name not in LEFT_OUT and value is not None:
                tensors[f"{part}.{field.name}"] = value.contiguous() if isinstance(value, Tensor) else torch.tensor(value)
    file.parent.mkdir(parents=True, exist_ok=True)
    data = save(tensors)
    write_whole(file, lambda handle: handle.write(data))


def read_answers(file: Path) -> Answers:
    """Read them; parts that the data had none of are None.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        tensors = load_file(file)
        made = {part: _made(part, tensors) for part in PARTS}
    except Exception as error:
        raise CheckpointError(f"{file} is not read: {str(error).splitlines()[0]}. Run cliptune test again, which writes it.") from None
    return Answers(made["classes"], made["retrieval"])


def _made(part: str, tensors: dict[str, Tensor]) -> Any:
    own = {name.removeprefix(f"{part}."): value for name, value in tensors.items() if name.startswith(f"{part}.")}
    if not own:
        return None
    missing = {field.name: None for field in fields(PARTS[part]) if field.name not in own}
    if "classes" in own:
        own["classes"] = int(own["classes"])  # type: ignore[assignment]
    return PARTS[part](**own, **missing)
