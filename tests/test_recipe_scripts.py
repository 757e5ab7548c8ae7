"""The scripts that make the recipes' tables of what was downloaded."""

import csv
import runpy
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]


def table_of(script: str, file: Path, *words: str) -> list[dict[str, str]]:
    before, sys.argv = sys.argv, [script, *words]
    try:
        runpy.run_path(str(ROOT / "recipes" / script), run_name="__main__")
    finally:
        sys.argv = before
    with file.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_ham10000s_table_keeps_a_lesion_on_one_side(tmp_path: Path) -> None:
    lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization"]
    for i in range(60):
        lines.append(f"L{i // 2},ISIC_{i},{('nv', 'mel')[i % 2]},histo,45.0,male,back")
        Image.new("RGB", (8, 8)).save(tmp_path / f"ISIC_{i}.jpg")
    (tmp_path / "HAM10000_metadata").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "ISIC2018_Task3_Test_GroundTruth.csv").write_text(
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_T,0.0,0.0,0.0,0.0,0.0,0.0,1.0\nISIC_GONE,1.0,0,0,0,0,0,0\n", encoding="utf-8"
    )
    Image.new("RGB", (8, 8)).save(tmp_path / "deep" / "ISIC_T.jpg")
    rows = table_of("medical/ham10000/table.py", tmp_path / "table.csv", str(tmp_path))
    assert [(row["image"], row["label"]) for row in rows if row["split"] == "test"] == [("deep/ISIC_T.jpg", "vascular lesion")]
    assert {row["label"] for row in rows} == {"melanocytic nevus", "melanoma", "vascular lesion"}
    sides = {split: {row["lesion_id"] for row in rows if row["split"] == split} for split in ("train", "validation")}
    assert sides["train"].isdisjoint(sides["validation"])
    assert sides["train"]
    assert sides["validation"]


def test_bccds_table_cuts_the_boxes_out(tmp_path: Path) -> None:
    base = tmp_path / "BCCD_Dataset" / "BCCD"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (base / folder).mkdir(parents=True)
    photo = Image.new("RGB", (100, 80), "white")
    photo.paste("purple", (20, 20, 60, 60))
    photo.save(base / "JPEGImages" / "a.jpg")
    box = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>20</ymin><xmax>{}</xmax><ymax>60</ymax></bndbox></object>"
    text = f"<annotation>{box.format('WBC', 20, 60)}{box.format('RBC', 90, 91)}</annotation>"  # the second is no cell
    (base / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    (base / "ImageSets" / "Main" / "val.txt").write_text("a\n", encoding="utf-8")
    out = tmp_path / "bccd"
    rows = table_of("medical/bccd/table.py", out / "table.csv", str(tmp_path / "BCCD_Dataset"), str(out))
    assert rows == [{"image": "validation/a_0.jpg", "label": "WBC", "split": "validation"}]
    with Image.open(out / rows[0]["image"]) as cell:
        assert cell.size == (52, 52)  # 40 pixels and 15 % on each side


def test_dcsss_table_reads_kinds_off_folders_and_joins_descriptions(tmp_path: Path) -> None:
    for name in ("monster/undead/ghoul_2.png", "monster/undead/ghoul_3.png", "item/weapon/dagger.png"):
        file = tmp_path / "tiles" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", (32, 32)).save(file)
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "monsters.txt").write_text(
        "%%%%\nGhoul\n\nA hungry dead thing\nthat walks.\n%%%%\nx\n\nshort\n", encoding="utf-8"
    )
    rows = table_of("games/dcss_tiles/table.py", tmp_path / "tiles" / "table.csv", str(tmp_path / "tiles"), str(tmp_path / "texts"))
    ghouls = [row for row in rows if row["name"] == "ghoul"]
    assert {(row["label"], row["sublabel"], row["description"]) for row in ghouls} == {
        ("monster", "undead", "A hungry dead thing that walks.")
    }
    assert len({row["split"] for row in ghouls}) == 1
    assert next(row for row in rows if row["name"] == "dagger")["description"] == ""


@pytest.mark.parametrize("script", [str(file.relative_to(ROOT / "recipes")) for file in sorted((ROOT / "recipes").rglob("table.py"))])
def test_without_its_folders_a_script_says_in_one_line_how_it_is_called(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        table_of(script, Path())
    told = capsys.readouterr().err
    assert ended.value.code == 2
    assert told.startswith(f"usage: python {ROOT / 'recipes' / script} ")
    assert told.count("\n") == 1
