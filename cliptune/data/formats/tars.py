"""WebDataset's tars as tables and streams of `datasets`, with the columns `image`, `caption`, `label` and the fields of JSON members.

`datasets` has a reader of its own, but it wants the same kinds of files in every sample and whole numbers for classes, which tars in use
often do not have; so samples are read by `samples`, and only what is made of them is left to `datasets`.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from datasets import Dataset, DatasetDict, DownloadManager, Features, Image, IterableDataset, Sequence, Value, config
from datasets.fingerprint import Hasher

from cliptune.data.formats.patterns import list_files
from cliptune.data.formats.reading import READERS, Source, is_url, reason, suffix_of
from cliptune.data.formats.samples import CAPTIONS, LABELS, Members, fields_of, image_of, samples_of, text_of
from cliptune.errors import DataError
from cliptune.images import SUFFIXES
from cliptune.retries import retried
from cliptune.whole import write_whole

TARS = (".tar", ".tar.gz", ".tgz")
FORM = 1  # of the rows that are made of a tar; one more where the same tar would give others
INFERRED = 200  # samples of a stream that say which columns there are
JSON = "json"  # the type of a field that has no other: kept as JSON text
GREATEST = 2**63  # of int64


class Layout(NamedTuple):
    """The columns of tars."""

    caption: bool  # whether members give captions
    label: str  # the type of labels that members give, "" where they give none
    fields: tuple[tuple[str, str, str], ...]  # of JSON members: name, column, type

    @property
    def features(self) -> Features:
        """As `datasets` wants them."""
        own = {"caption": Value("string")} if self.caption else {}
        own |= {"label": Value(self.label)} if self.label else {}
        told = {column: _feature(kind) for _, column, kind in self.fields}
        return Features({"image": Image(decode=False), **own, **told, "__key__": Value("string")})


def is_tar(path: str) -> bool:
    """Whether a path that is no folder names tars: a file, a pattern, or a URL.

    Raises:
        DataError: it is a command.
    """
    if path.startswith("pipe:"):
        raise DataError(f"data path {path}: commands are not run. Give the URL that it reads, such as https://host/{{000..099}}.tar.")
    return suffix_of(path) in TARS


def holds_tars(found: Iterable[str]) -> bool:
    """Whether what lies in a folder are tars, and neither tables nor images; img2dataset leaves a parquet and a JSON file beside each."""
    paths = list(found)
    stems = {path.removesuffix(suffix_of(path)) for path in paths if path.lower().endswith(TARS)}
    if not stems:
        return False
    listed = [Path(path) for path in paths]
    beside = {file for file in listed if file.suffix in (".json", ".parquet") and str(file.with_suffix("")).removesuffix("_stats") in stems}
    return not any(file.suffix.lower() in (*READERS, *SUFFIXES) for file in listed if file not in beside)


def open_tars(path: str) -> Source:
    """Read tars into tables, which lie in the cache folder of `datasets`: a copy. Streaming makes none.

    Args:
        path: a file, a folder, a pattern or a URL; what lies elsewhere is fetched first.

    Raises:
        DataError: a tar is damaged, or there is none.
    """
    local = {split: _fetched(listed) for split, listed in list_files(path, TARS).items()}
    stamps = {split: [_stamp(tar) for tar in listed] for split, listed in local.items()}
    layout = _layout_of_all([tar for listed in local.values() for tar in listed], stamps)
    tables = {split: _table(listed, layout, stamps[split], path) for split, listed in local.items()}
    return Source(DatasetDict(tables), {"train": [Path()]})


def _stamp(tar: str) -> tuple[int, str, int, int]:
    """What tells a tar from others, and from what it was before."""
    about = Path(tar).stat()
    return FORM, str(Path(tar).resolve()), about.st_size, about.st_mtime_ns


def _layout_of_all(tars: list[str], stamps: Any) -> Layout:
    """The columns of tars, for which each is read but for its images, once: they are kept beside the copies."""
    file = Path(config.HF_DATASETS_CACHE) / "cliptune_tars" / f"{Hasher.hash(stamps)}.json"
    try:
        caption, label, fields = json.loads(file.read_text(encoding="utf-8"))
        return Layout(caption, label, tuple((name, column, kind) for name, column, kind in fields))
    except (OSError, ValueError):  # not there, or not whole
        layout = layout_of(sample for tar in tars for sample in samples_of(tar, images=False))
    with suppress(OSError):  # another process may write it at the same time
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda opened: opened.write(json.dumps(layout).encode()))
    return layout


def stream_tars(files: dict[str, list[str]]) -> dict[str, IterableDataset]:
    """Streams over tars, a shard each, wherever they lie; the first samples say which columns there are.

    Args:
        files: by split.

    Raises:
        DataError: the first tar cannot be read.
    """
    first = next(iter(files.values()))
    try:
        layout = retried(
            lambda: layout_of(islice((sample for tar in first for sample in samples_of(tar)), INFERRED)), f"reading {first[0]}"
        )
    except DataError:
        raise
    except Exception as error:  # of as many kinds as there are protocols
        raise DataError(f"data path {first[0]} cannot be read: {reason(error)[0]}. Check the address.") from error
    return {
        split: IterableDataset.from_generator(rows_of, features=layout.features, gen_kwargs={"tars": listed, "layout": layout})
        for split, listed in files.items()
    }


def _fetched(tars: list[str]) -> list[str]:
    if not any(map(is_url, tars)):
        return tars
    try:
        return [str(file) for file in DownloadManager().download(tars)]
    except Exception as error:  # of as many kinds as there are protocols
        raise DataError(f"data path {tars[0]} cannot be fetched: {reason(error)[0]}.") from error


def _table(tars: list[str], layout: Layout, stamps: list[Any], path: str) -> Dataset:
    given = {"tars": tars, "layout": layout, "stamps": stamps}
    try:
        return Dataset.from_generator(rows_of, features=layout.features, gen_kwargs=given)
    except Exception as error:  # datasets wraps what the reading raised
        line, cause = reason(error)
        raise DataError(str(cause) if isinstance(cause, DataError) else f"data path {path} cannot be read: {line}.") from error


def rows_of(tars: list[str], layout: Layout, stamps: list[Any] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of tars, images not decoded.

    Args:
        tars: paths or URLs.
        layout: the columns.
        stamps: what tells a tar from another of the same name, for the name of the copy in the cache.
    """
    for tar in tars:
        for key, members in samples_of(tar):
            yield _row(f"{tar}: {key}", members, layout) | {"__key__": key}


def _row(where: str, members: Members, layout: Layout) -> dict[str, Any]:
    told, image = fields_of(members), image_of(members)
    row = {column: _cell(told.get(name), kind) for name, column, kind in layout.fields}
    row["image"] = {"bytes": members[image], "path": None} if image is not None else None
    if layout.caption:
        row["caption"] = text_of(members, CAPTIONS)
    if layout.label:
        word = text_of(members, LABELS) or None
        if word and layout.label == "int64" and not _is_whole(word):
            raise DataError(f"data path {where} has the label {word}, where those before it are numbers. Write one kind for all.")
        row["label"] = int(word) if word and layout.label == "int64" else word
    return row


def layout_of(samples: Iterable[tuple[str, Members]]) -> Layout:
    """Which columns samples have. A JSON member's field that is called as what other members give gets `json_` before its name."""
    kinds: dict[str, str] = {}
    caption, label = False, ""
    for _, members in samples:
        for name, value in fields_of(members).items():
            kinds[name] = _wider(kinds.get(name, ""), _kind(value))
        caption = caption or text_of(members, CAPTIONS) is not None
        word = text_of(members, LABELS)
        if word:
            label = "int64" if label != "string" and _is_whole(word) else "string"
    taken = {"image", "__key__", *["caption"] * caption, *["label"] * bool(label)}
    return Layout(caption, label, tuple((name, f"json_{name}" if name in taken else name, kind) for name, kind in kinds.items()))


def _is_whole(word: str) -> bool:
    return word.removeprefix("-").isdecimal() and abs(int(word)) < GREATEST


# Types of JSON's values: of `datasets`, `[type]` for a list, "" for nothing yet


def _kind(value: Any) -> str:
    if isinstance(value, list):
        inner = ""
        for one in value:
            inner = _wider(inner, _kind(one))
        return JSON if inner == JSON or inner.startswith("[") else f"[{inner}]"
    if isinstance(value, int) and not isinstance(value, bool):
        return "int64" if abs(value) < GREATEST else JSON
    return {type(None): "", bool: "bool", float: "float64", str: "string"}.get(type(value), JSON)


def _wider(one: str, other: str) -> str:
    """The type that holds both."""
    if one == other or not other:
        return one
    if not one:
        return other
    if {one, other} == {"int64", "float64"}:
        return "float64"
    if one.startswith("[") and other.startswith("["):
        inner = _wider(one[1:-1], other[1:-1])
        return JSON if inner == JSON else f"[{inner}]"
    return JSON


def _feature(kind: str) -> Any:
    if kind.startswith("["):
        return Sequence(_feature(kind[1:-1]))
    return Value("string" if kind in ("", JSON) else kind)


def _cell(value: Any, kind: str) -> Any:
    """A value as its column's type has it; None where it is of another, as in streams whose first samples were others."""
    if value is None or (kind in ("", JSON) and isinstance(value, str)):
        return value
    if kind in ("", JSON):
        return json.dumps(value, ensure_ascii=False)
    return value if _wider(kind, _kind(value)) == kind else None
