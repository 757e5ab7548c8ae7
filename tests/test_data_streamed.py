"""A stream in the data module: its columns, what is held for evaluation, its epochs."""

import re
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from made_data import data, texts_of
from shards import png, write_shards
from small import error_of, run

from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError, DataError

pytest_plugins = ["made_data"]


def streamed(path: Path, **options: Any) -> ImageTextData:
    return data(path, streaming=True, **options)


def said(made: ImageTextData) -> list[int]:
    texts = [text for batch in made.train_dataloader() for text in texts_of(batch["tokens"][batch["text"]])]
    return [int("".join(re.findall(r"\d", text))) for text in texts]


def test_shards_are_seen_whole_but_for_what_is_held_out(tmp_path: Path) -> None:
    write_shards(tmp_path, [20, 20, 20])
    made = streamed(tmp_path, batch_size=6)
    assert made.notes == [f"{tmp_path}: no validation and no test split: 6 rows of train held out for each, the same for every seed"]
    held = {row.captions[0] for split in ("validation", "test") for _, _, row in made.rows(split)[[(0, i) for i in range(6)]]}
    seen = said(made)
    assert len(held) == 12
    assert len(seen) == len(set(seen)) == 48
    assert not {f"caption {number}" for number in seen} & held


def test_a_stream_holds_out_the_same_rows_for_every_seed(tmp_path: Path) -> None:
    write_shards(tmp_path, [6] * 12)
    captions = []
    for seed in (0, 1):
        made = streamed(tmp_path, seed=seed)
        rows = {split: made.rows(split)[[(0, i) for i in range(len(made.rows(split)))]] for split in ("validation", "test")}
        captions.append({split: [row.captions for _, _, row in found] for split, found in rows.items()})
    assert captions[0] == captions[1]


def test_splits_of_their_own_are_held_in_memory(tmp_path: Path) -> None:
    write_shards(tmp_path, [20, 20])
    for split in ("val", "test"):
        write_shards(tmp_path, [9], split)
    made = streamed(tmp_path, eval_rows=5)
    assert [len(made.rows(split)) for split in ("validation", "test")] == [5, 5]
    assert sorted(said(made)) == list(range(40))


def test_an_epoch_is_as_long_as_wanted(tmp_path: Path) -> None:
    write_shards(tmp_path, [20, 20])
    assert len(said(streamed(tmp_path, epoch_rows=8))) == 8
    with pytest.raises(DataError, match="batch_size 4 is more than the 3 training rows"):
        streamed(tmp_path, epoch_rows=3)


def test_rows_that_cannot_be_used_are_passed_over(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": png(i), "path": None}, "text": "" if i % 2 else f"caption {i}"} for i in range(60)]
    Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    seen = said(streamed(tmp_path, epoch_rows=16))
    assert {number % 2 for number in seen} == {0}


def test_paths_of_a_stream_stay_in_its_folder(tmp_path: Path) -> None:
    lines = ["image,text", *(f"../elsewhere/{i}.png,a {i}" for i in range(40))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="leads out of"):
        said(streamed(tmp_path / "a.csv"))


@pytest.mark.parametrize(
    ("options", "name"),
    [({"shots": 4}, "shots"), ({"sampler": "balanced"}, "sampler"), ({"decoded": True}, "decoded"), ({"views": 2}, "views")],
)
def test_what_needs_all_rows_is_refused(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=rf"data: {name} needs to know all rows.*Leave out data\.{name} or data\.streaming"):
        ImageTextData("x", streaming=True, **options)


def test_a_fit_streams(config: Path, tmp_path: Path) -> None:
    write_shards(tmp_path / "shards", [40, 40])
    words = ["--data.path", str(tmp_path / "shards"), "--data.streaming", "true", "--data.batch_size", "16"]
    summary = run("fit", "--config", str(config), *words)
    assert [summary["counts"][split] for split in ("train", "validation", "test")] == [64, 8, 8]
    assert 0 <= summary["adapted"]["test/recall"] <= 1


FROZEN = {
    "probe": ["--model.method", "LinearProbe", "--model.objective", "CrossEntropy"],
    "lora": ["--model.method", "LoRA", "--model.method.towers", "image"],
}


@pytest.mark.parametrize("kind", FROZEN)
def test_a_frozen_tower_sees_the_streams_rows_and_not_its_beginning(config: Path, tmp_path: Path, kind: str) -> None:
    rows = [{"image": {"bytes": png(i), "path": None}, "label": f"kind {i % 3}" if i % 4 else ""} for i in range(300)]
    Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    names = ["--data.class_names", "[kind 0, kind 1, kind 2]"]
    words = ["--data.path", str(tmp_path / "a.parquet"), "--data.streaming", "true", "--data.batch_size", "16", *names, *FROZEN[kind]]
    summary = run("fit", "--config", str(config), *words, "--trainer.limit_train_batches", "12")
    assert summary["counts"]["train"] > 100


def test_a_probe_that_is_solved_at_once_refuses_a_stream(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"image": {"bytes": png(i), "path": None}, "label": f"kind {i % 3}"} for i in range(120)]
    Dataset.from_list(rows).to_parquet(tmp_path / "a.parquet")
    words = ["--data.path", str(tmp_path / "a.parquet"), "--data.streaming", "true", "--data.batch_size", "8", *FROZEN["probe"]]
    assert "solver lbfgs needs all rows at once" in error_of(
        capsys, "fit", "--config", str(config), *words, "--model.method.solver", "lbfgs"
    )
