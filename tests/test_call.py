"""A function's signature is the command line."""

from pathlib import Path
from typing import Any, Literal

import pytest

from cliptune.call import call
from cliptune.errors import ConfigError


def command(
    model: str, *rest: str, count: int = 1, share: float | Literal["auto"] | None = None, folder: Path | None = None, loud: bool = False
) -> None:
    raise Said(dict(locals()))


class Said(Exception):  # noqa: N818 - carries what a command was called with
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["m"], {"model": "m", "rest": (), "count": 1, "share": None, "folder": None, "loud": False}),
        (["m", "a", "b", "--count", "3", "--loud"], {"rest": ("a", "b"), "count": 3, "loud": True}),
        (["--share=auto", "m", "--folder", "x/y"], {"share": "auto", "folder": Path("x/y")}),
        (["m", "--share", "0.25", "-", "--loud=false"], {"share": 0.25, "rest": ("-",), "loud": False}),
        (["m", "--count=-2"], {"count": -2}),
    ],
)
def test_words_become_arguments(words: list[str], expected: dict[str, Any]) -> None:
    with pytest.raises(Said) as said:
        call("do", words, command)
    assert {key: said.value.arguments[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "do lacks MODEL. See cliptune do --help"),
        (["m", "--count", "2.5"], "do --count is 2.5, but must be a whole number."),
        (["m", "--share", "much"], "do --share is much, but must be a number or auto."),
        (["m", "--share", "aut"], "do --share is aut, but must be a number or auto. Did you mean auto?"),
        (["m", "--share", "nan"], "do --share is nan, but must be a number or auto."),
        (["m", "--cuont", "3"], "do has no option --cuont. Did you mean --count?"),
        (["m", "--folder"], "do --folder is missing its value. See cliptune do --help"),
        (["m", "--loud=perhaps"], "do --loud is perhaps, but must be true or false."),
    ],
)
def test_a_mistake_is_one_line(words: list[str], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        call("do", words, command)
    assert str(error.value) == expected


@pytest.mark.parametrize(("count", "told"), [(0, "It takes nothing more."), (2, "It takes NAME [FOLDER] and nothing more.")])
def test_a_word_too_many_tells_what_is_taken(count: int, told: str) -> None:
    def none() -> None:
        """Takes nothing."""

    def two(name: str, folder: str = "") -> None:
        """Takes two words."""

    with pytest.raises(ConfigError) as error:
        call("do", ["x"] * (count + 1), two if count else none)
    assert str(error.value) == f"do does not know what x is for. {told}"
