"""Few shots: so many of each class, the published lists' very images, and lists of one's own."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_data import data, names_of

from cliptune.data.images import ImageTextData
from cliptune.errors import ConfigError, DataError

pytest_plugins = ["made_data"]

CALTECH = Path("../shared/data/caltech101/data.parquet")
LABELS = ["ant", "bee", "cat"] * 20


def labels_of(made: ImageTextData, split: str) -> list[str | None]:
    rows = made.rows(split)
    return [row.label for _, _, row in rows[[(0, i) for i in range(len(rows))]]]


def test_each_class_has_so_many_images_and_validation_four_at_most(write: Callable[..., Path]) -> None:
    table = write(LABELS, "label", split=(["train"] * 12 + ["val"] * 8) * 3)
    for shots, held in ((2, 2), (8, 4)):
        made = data(table, shots=shots)
        assert set(Counter(labels_of(made, "train")).values()) == {shots}
        assert set(Counter(labels_of(made, "validation")).values()) == {held}


def test_the_seed_chooses_and_the_choice_is_told_by_its_hash(write: Callable[..., Path], tmp_path: Path) -> None:
    table = write(LABELS, "label", split=(["train"] * 12 + ["val"] * 4 + ["test"] * 4) * 3)
    one, same, other = (data(table, shots=2, seed=seed) for seed in (1, 1, 2))
    assert one.chosen.digest == same.chosen.digest != other.chosen.digest
    assert names_of(one, "train") == names_of(same, "train") != names_of(other, "train")
    one.chosen.write(tmp_path)
    written = json.loads((tmp_path / "few_shot.json").read_text())
    assert written["train"] == [f"pictures/{name}" for name in names_of(one, "train")]
    assert (written["shots"], written["seed"], written["sha256"]) == (2, 1, one.chosen.digest)


def test_a_runs_choice_can_be_taken_again_by_another_seed(write: Callable[..., Path], tmp_path: Path) -> None:
    table = write(LABELS, "label", split=(["train"] * 12 + ["val"] * 4 + ["test"] * 4) * 3)
    first = data(table, shots=3, seed=1)
    first.chosen.write(tmp_path)
    again = data(table, shots_file=str(tmp_path / "few_shot.json"), seed=2)
    assert [names_of(again, split) for split in ("train", "validation")] == [names_of(first, split) for split in ("train", "validation")]
    assert again.chosen.digest == first.chosen.digest


def test_images_that_lie_in_the_table_are_found_again_by_their_content(tmp_path: Path) -> None:
    first = data(shots=2, seed=1)
    first.chosen.write(tmp_path)
    again = data(shots_file=str(tmp_path), seed=1)
    assert labels_of(again, "train") == labels_of(first, "train")
    assert again.chosen.digest == first.chosen.digest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "pictures/3.png\n7.png\n\n"),
        ("a.csv", "note,file_name\nx,pictures/3.png\ny,pictures/7.png\n"),
        ("a.json", '["pictures/3.png", "pictures/7.png"]'),
        (
            "split_zhou_x.json",
            '{"train": [["pictures/3.png", 0, "ant"], ["pictures/7.png", 1, "bee"]], "val": [], "test": [["8.png", 1, "a"]]}',
        ),
        ("rows.txt", "3\n7\n"),
    ],
)
def test_a_list_may_be_written_in_many_ways(write: Callable[..., Path], tmp_path: Path, name: str, text: str) -> None:
    table = write(LABELS, "label", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    (tmp_path / name).write_text(text)
    assert names_of(data(table, shots_file=str(tmp_path / name)), "train") == ["3.png", "7.png"]


def test_a_column_of_ids_names_images(write: Callable[..., Path], tmp_path: Path) -> None:
    table = write(LABELS, "label", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10, image_id=[f"ISIC_{i}" for i in range(60)])
    (tmp_path / "a.txt").write_text("ISIC_30\nISIC_2\n")
    assert names_of(data(table, shots_file=str(tmp_path / "a.txt")), "train") == ["2.png", "30.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pictures/3.png\npictures/no.png", r"pictures/no\.png is no image of train of .*Did you mean|There is"),
        ("pictures/50.png\n", r"pictures/50\.png is no image of train"),  # of test
        ("a.png\na.png", r"it lists a\.png twice\. Take one out"),
        ("", r"it lists no image of train"),
    ],
)
def test_a_list_that_does_not_fit_names_the_image(write: Callable[..., Path], tmp_path: Path, text: str, message: str) -> None:
    table = write(LABELS, "label", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        data(table, shots_file=str(tmp_path / "a.txt"))


def test_a_list_that_is_not_there_is_one_line(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"shots_file nowhere\.json: No such file"):
        data(write(LABELS, "label"), shots_file="nowhere.json")
    with pytest.raises(ConfigError, match="shots_file lists the images, and shots chooses others"):
        data(write(LABELS, "label"), shots_file="a.json", shots=2)


def test_shots_need_labels(write: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match=r"shots counts images of a class, and there are no labels"):
        data(write([f"a {i}" for i in range(12)]), shots=2)


def test_an_image_of_several_classes_counts_for_each(write: Callable[..., Path]) -> None:
    table = write([["ant", "bee"], ["bee"], ["cat", "ant"]] * 20, "label", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10)
    made = data(table, shots=4)
    rows = made.rows("train")
    counts = Counter(label for _, _, row in rows[[(0, i) for i in range(len(rows))]] for label in row.labels)
    assert all(4 <= count <= 8 for count in counts.values())
    assert len(rows) < 12


@pytest.mark.skipif(not CALTECH.is_file(), reason=f"{CALTECH} is not here")
@pytest.mark.parametrize(("shots", "seed"), [(1, 1), (16, 2)])
def test_published_lists_give_exactly_their_images(shots: int, seed: int) -> None:
    made = data(CALTECH, shots=shots, shots_column="fewshot_list", seed=seed)
    table = pq.read_table(CALTECH, columns=["image", "split", "fewshot_list", "label"]).to_pylist()
    for split, name in (("train", f"train_shot{shots}_seed{seed}"), ("validation", f"val_shot{shots}_seed{seed}")):
        expected = [row["image"]["bytes"] for row in table if name in (row["fewshot_list"] or [])]
        rows = made.rows(split)
        assert [row.image for _, _, row in rows[[(0, i) for i in range(len(rows))]]] == expected
        assert len(expected) > 50


def files_of(made: ImageTextData, split: str) -> list[str]:
    """The ends of the paths of a split's images, class folder and name."""
    rows = made.rows(split)
    return ["/".join(Path(row.key).parts[-2:]) for _, _, row in rows[[(0, i) for i in range(len(rows))]]]


@pytest.fixture
def folder(tmp_path: Path, picture: Callable[[str], Path]) -> Path:
    """Three classes of twelve images, with the same file names in each, and no splits."""
    for label in LABELS[:3]:
        for i in range(12):
            picture(f"all/sets/{label}/image_{i}.png")
    return tmp_path / "all"


def test_listed_images_are_not_held_out_of_training_by_another_seed(folder: Path, tmp_path: Path) -> None:
    first = data(folder, shots=3, seed=1)
    first.chosen.write(tmp_path)
    for seed in (2, 3):
        again = data(folder, shots_file=str(tmp_path / "few_shot.json"), seed=seed)
        for split in ("train", "validation"):
            assert set(files_of(again, split)) == set(files_of(first, split))
            assert not set(files_of(again, "test")) & set(files_of(first, split))
        assert again.chosen.digest == first.chosen.digest
    assert set(files_of(data(folder, shots_file=str(tmp_path), seed=1), "test")) == set(files_of(first, "test"))


def test_listed_images_that_would_be_held_out_are_trained_on(folder: Path, tmp_path: Path) -> None:
    held = data(folder)
    listed = files_of(held, "test")[:2]
    (tmp_path / "a.txt").write_text("\n".join(listed))
    again = data(folder, shots_file=str(tmp_path / "a.txt"))
    assert set(files_of(again, "train")) == set(listed)
    assert not set(files_of(again, "test")) & set(files_of(again, "train"))


def test_coops_file_splits_a_folder_that_has_no_splits(folder: Path, tmp_path: Path) -> None:
    parts = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
    lists = {name: [[f"{label}/image_{i}.png", 0, label] for label in LABELS[:3] for i in numbers] for name, numbers in parts.items()}
    (tmp_path / "split_zhou_x.json").write_text(json.dumps(lists))
    made = data(folder, shots_file=str(tmp_path / "split_zhou_x.json"))
    for name, split in (("train", "train"), ("val", "validation"), ("test", "test")):
        assert set(files_of(made, split)) == {path for path, _, _ in lists[name]}


def test_both_halves_have_the_images_that_all_classes_have(folder: Path, tmp_path: Path, picture: Callable[[str], Path]) -> None:
    for i in range(12):
        picture(f"all/sets/dog/image_{i}.png")  # a fourth class, so that both halves have two
    whole = data(folder, shots=3, seed=1)
    whole.chosen.write(tmp_path)
    base, new = (data(folder, shots=3, seed=1, classes=half) for half in ("base", "new"))
    assert set(files_of(base, "train")) | set(files_of(new, "train")) == set(files_of(whole, "train"))
    assert set(base.chosen.ids["train"]) | set(new.chosen.ids["train"]) == set(whole.chosen.ids["train"])
    listed = data(folder, shots_file=str(tmp_path), seed=1, classes="base")
    assert set(files_of(listed, "train")) == set(files_of(base, "train"))
    base.chosen.write(tmp_path)
    with pytest.raises(DataError, match=r"none of its images is among the few"):
        data(folder, shots_file=str(tmp_path), seed=1, classes="new")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_3.png", r"image_3\.png is the name of [23] rows of train, of different images\. Give more of their paths"),
        ("sets/ant/image_3.png\nant/image_3.png", r"lists ant/image_3\.png twice, as sets/ant/image_3\.png too"),
        ("sets/dog/image_3.png", r"sets/dog/image_3\.png is no image of train"),  # though others of that name are there
        ("3\n7", r"row numbers count in a split of the source's own"),
    ],
)
def test_a_name_that_says_too_little_is_refused(folder: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        data(folder, shots_file=str(tmp_path / "a.txt"))


def test_a_path_from_elsewhere_means_the_image_with_the_same_end(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("/elsewhere/sets/bee/image_3.png\ncat/image_3.png")
    made = data(folder, shots_file=str(tmp_path / "a.txt"))
    assert sorted(files_of(made, "train")) == ["bee/image_3.png", "cat/image_3.png"]


def test_shots_are_images_and_bring_all_their_captions(tmp_path: Path, picture: Callable[[str], Path]) -> None:
    rows = [(picture(f"{i}.png").name, f"text {j}", LABELS[i], ["train", "val", "test"][i // 3 % 3]) for i in range(36) for j in range(3)]
    names = ("image", "caption", "label", "split")
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    first = data(tmp_path / "a.jsonl", shots=2)
    assert set(Counter(files_of(first, "train")).values()) == {3}
    assert len(set(files_of(first, "train"))) == 6
    first.chosen.write(tmp_path)
    again = data(tmp_path / "a.jsonl", shots_file=str(tmp_path))
    assert files_of(again, "train") == files_of(first, "train")


def test_images_of_several_sources_that_have_the_same_names_are_told_apart(tmp_path: Path, picture: Callable[[str], Path]) -> None:
    for source in ("one", "two"):
        rows = [
            {"image": picture(f"{source}/{i}.png").name, "label": LABELS[i], "split": ["train", "val", "test"][i // 15]} for i in range(45)
        ]
        (tmp_path / source / "a.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    paths = [str(tmp_path / source / "a.jsonl") for source in ("one", "two")]
    first = data(paths, shots=1, seed=1)
    first.chosen.write(tmp_path)
    again = data(paths, shots_file=str(tmp_path), seed=2)
    assert sorted(files_of(again, "train")) == sorted(files_of(first, "train"))
    assert again.chosen.digest == first.chosen.digest
    assert len(again.rows("train")) == 6


def test_an_image_in_the_table_may_be_named_by_the_path_that_lies_beside_it(tmp_path: Path, picture: Callable[[str], Path]) -> None:
    cells = [{"bytes": picture(f"{i}.png").read_bytes(), "path": f"{i}.png"} for i in range(30)]
    pq.write_table(pa.table({"image": cells, "label": LABELS[:30], "split": (["train"] * 8 + ["val", "test"]) * 3}), tmp_path / "a.parquet")
    (tmp_path / "a.txt").write_text("3.png\n17.png")
    made = data(tmp_path / "a.parquet", shots_file=str(tmp_path / "a.txt"))
    assert labels_of(made, "train") == [LABELS[3], LABELS[17]]


def test_a_number_that_is_no_id_is_not_taken_for_a_row(write: Callable[..., Path], tmp_path: Path) -> None:
    table = write(LABELS, "label", split=["train"] * 40 + ["val"] * 10 + ["test"] * 10, image_id=list(range(100, 160)))
    (tmp_path / "a.txt").write_text("103\n7\n")
    with pytest.raises(DataError, match=r"a\.txt: 7 is no image of train"):
        data(table, shots_file=str(tmp_path / "a.txt"))


@pytest.mark.skipif(not CALTECH.is_file(), reason=f"{CALTECH} is not here")
def test_coops_file_finds_images_by_the_column_of_their_sources(tmp_path: Path) -> None:
    table = pq.read_table(CALTECH, columns=["split", "source", "fewshot_list"]).to_pylist()
    wanted = [row["source"] for row in table if "train_shot1_seed1" in (row["fewshot_list"] or [])]
    (tmp_path / "a.json").write_text(json.dumps({"train": [[source.partition("/")[2], 0, ""] for source in wanted]}))
    by_file = data(CALTECH, shots_file=str(tmp_path / "a.json"))
    by_column = data(CALTECH, shots=1, shots_column="fewshot_list", seed=1)
    assert by_file.chosen.ids["train"] == by_column.chosen.ids["train"]


def test_copies_of_an_image_are_found_as_often_as_they_were_chosen(tmp_path: Path, picture: Callable[[str], Path]) -> None:
    cells = [{"bytes": picture(f"{i % 15}.png").read_bytes(), "path": None} for i in range(60)]
    pq.write_table(pa.table({"image": cells, "label": LABELS}), tmp_path / "a.parquet")
    first = data(tmp_path / "a.parquet", shots=4, seed=1)
    assert len(set(first.chosen.ids["train"])) < len(first.chosen.ids["train"])
    first.chosen.write(tmp_path)
    assert data(tmp_path / "a.parquet", shots_file=str(tmp_path), seed=2).chosen.digest == first.chosen.digest
