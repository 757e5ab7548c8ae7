"""The doctor's reading of the data: broken and odd files, counts, what is left out of memory."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
from broken import good_files, write_broken

from cliptune.data.images import ImageTextData
from cliptune.doctor import image_facts
from cliptune.doctor.findings import Findings
from cliptune.doctor.places import ODD, UNREADABLE
from cliptune.doctor.scan import scan
from cliptune.errors import ConfigError
from cliptune.preprocess import Preprocess

PREPROCESS = Preprocess({"size": 64}, open_clip.get_tokenizer("ViT-B-32"), trim=True)


def opened(path: Path | str, **options: Any) -> ImageTextData:
    return ImageTextData(str(path), **{"batch_size": 4, "workers": 0, "preprocess": PREPROCESS, **options})


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, dict[str, set[str]], dict[str, frozenset[str]]]:
    """What the scan says of the broken files, kinds by name; and what they are."""
    table, kinds = write_broken(tmp_path_factory.mktemp("broken"))
    found = scan(opened(table), 0, progress=False)
    said: dict[str, set[str]] = defaultdict(set)
    for kind, rows in found.images.odd.items():
        for place in rows.places:
            said[Path(place.path).name].add(kind)
    return found, said, kinds


def test_at_least_forty_broken_and_odd_files_are_there(told: Any) -> None:
    kinds = told[2]
    assert sum(bool(kind) for kind in kinds.values()) >= 40
    assert {kind for said in kinds.values() for kind in said} >= {*UNREADABLE, *ODD} - {"dicom"}


def test_each_broken_or_odd_file_is_found_by_its_kind(told: Any) -> None:
    _, said, kinds = told
    wrong = {name: (said[name], set(kind)) for name, kind in kinds.items() if kind and not kind <= said[name]}
    assert wrong == {}
    more = {name: said[name] - kind for name, kind in kinds.items() if said[name] - kind and "dicom" not in kind}
    assert more == {}


def test_no_good_file_is_told_of(told: Any) -> None:
    _, said, kinds = told
    assert [name for name, kind in kinds.items() if not kind and said[name]] == []


def test_a_place_names_the_row_the_path_and_the_reason(told: Any) -> None:
    found = told[0]
    place = next(place for place in found.images.odd["wrong_suffix"].places if place.path.endswith("png_called.jpg"))
    assert (place.detail, Path(place.path).is_file()) == ("PNG called .jpg", True)
    assert place.split in found.splits


def test_bombs_are_told_by_their_headers_and_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _ = write_broken(tmp_path)
    seen: list[str] = []
    real = image_facts.decode
    monkeypatch.setattr(image_facts, "decode", lambda data, name: (seen.append(Path(name).name), real(data, name))[1])
    scan(opened(table), 0, progress=False)
    assert not [name for name in seen if name.startswith("bomb")]
    assert len(seen) == len(set(seen)) > 40  # each once


def test_findings_are_json(told: Any) -> None:
    found = told[0]
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["images"]["unreadable"] == found.images.unreadable > 20
    assert plain["splits"]["train"]["rows"] == found.splits["train"].rows


def test_thumbnails_are_few_small_and_of_places(told: Any) -> None:
    found = told[0]
    assert 0 < len(found.thumbnails) <= 60
    assert sum(map(len, found.thumbnails.values())) < 400_000
    keys = {place.key for kind in found.images.odd.values() for place in kind.places}
    keys |= {place.key for places in found.examples.values() for place in places}
    assert set(found.thumbnails) <= keys | {place.key for pair in found.duplicates.pairs for place in (pair.first, pair.second)}


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """Twenty good files, of which four rows have no caption."""
    lines = ["image,caption,label,split"]
    for i, (name, data) in enumerate(good_files(20).items()):
        (tmp_path / name).write_bytes(data)
        lines.append(f"{name},{'' if i % 5 == 4 else f'picture {i}'},{'ab'[i % 3 == 0]},{('train', 'test')[i % 4 == 3]}")
    (tmp_path / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "a.csv"


def test_counts_sizes_modes_and_formats_are_those_of_the_files(plain: Path) -> None:
    found = scan(opened(plain), 0, progress=False)
    rows = {name: split.rows for name, split in found.splits.items()}
    assert sum(rows.values()) == 16
    assert sum(found.images.modes.values()) == sum(found.images.formats.values()) == found.images.readable == 16
    assert found.images.sizes == {"64x48": 16}
    assert found.images.short_sides.quantiles == [48.0] * 7
    assert found.images.below_input == 16  # of 64 pixels
    files = {Path(row.key) for name in found.splits for _, _, row in opened_rows(plain, name)}
    assert sum(split.bytes for split in found.splits.values()) == sum(file.stat().st_size for file in files)
    assert found.images.grey == sum(int(file.stem.removeprefix("good")) % 5 == 2 for file in files)


def test_rows_without_a_caption_are_counted_as_empty(plain: Path) -> None:
    found = scan(opened(plain), 0, progress=False)
    assert found.captions.empty == 4
    assert {name: split.left_out for name, split in found.splits.items() if split.left_out} == {
        "train": {"without a caption": 3},
        "test": {"without a caption": 1},
    }


def opened_rows(path: Path, split: str) -> list[Any]:
    data = opened(path)
    data.setup()
    rows = data.rows(split)
    return rows[[(0, i) for i in range(len(rows))]]


def test_worker_processes_find_the_same(plain: Path) -> None:
    one, two = (scan(opened(plain), workers, progress=False).to_json() for workers in (0, 2))
    for key in ("seconds", "images_per_second", "workers"):
        one.pop(key), two.pop(key)
    assert one == two


def test_classes_and_their_balance_are_counted(plain: Path) -> None:
    found = scan(opened(plain), 0, progress=False)
    train = found.splits["train"].labels
    assert found.classes.names == ["a", "b"]
    assert found.classes.imbalance == max(train.values()) / min(train.values())
    shares = np.array(list(train.values())) / sum(train.values())
    assert found.classes.effective == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))


def test_an_image_of_several_captions_is_decoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = good_files(6)
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    lines = [f"{name},caption {i} of {name}" for name in files for i in range(3)]
    (tmp_path / "a.csv").write_text("\n".join(["image,caption", *lines]), encoding="utf-8")
    seen: list[str] = []
    real = image_facts.decode
    monkeypatch.setattr(image_facts, "decode", lambda data, name: (seen.append(name), real(data, name))[1])
    found = scan(opened(tmp_path / "a.csv"), 0, progress=False)
    assert len(seen) == len(files)
    assert sum(split.rows for split in found.splits.values()) == 18
    assert found.duplicates.bytes == 0


def test_data_without_a_preprocess_is_refused(plain: Path) -> None:
    with pytest.raises(ConfigError, match="preprocess"):
        scan(ImageTextData(str(plain)), 0)


def test_digits_have_no_captions_and_are_told_of_as_tiny() -> None:
    found = scan(opened("digits", preprocess=Preprocess({"size": 224}, open_clip.get_tokenizer("ViT-B-32"), trim=True)), 0, progress=False)
    assert found.captions.source == "classes"
    assert found.images.odd["tiny"].count == found.images.readable == 1797
    assert len(found.images.odd["tiny"].places) == 1000
