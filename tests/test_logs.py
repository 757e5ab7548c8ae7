"""`metrics.csv`: gone on with after a resume, with every row of before wherever a kill fell."""

from pathlib import Path

import pytest

from cliptune.logs import ResumableCSVLogger


def logged(folder: Path, *rows: tuple[int, dict[str, float]]) -> ResumableCSVLogger:
    logger = ResumableCSVLogger(folder)
    for step, metrics in rows:
        logger.log_metrics(metrics, step)
        logger.save()
    return logger


def lines(folder: Path) -> list[str]:
    return (folder / "metrics.csv").read_text(encoding="utf-8").splitlines()


def test_a_later_logger_goes_on_with_the_rows_before_a_step(tmp_path: Path) -> None:
    logged(tmp_path, (0, {"train/loss": 2.5}), (1, {"train/loss": 2.25}), (1, {"val/top1": 0.5}), (2, {"train/loss": 2.125}))
    whole = lines(tmp_path)
    assert whole == ["step,train/loss,val/top1", "0,2.5,", "1,2.25,", "1,,0.5", "2,2.125,"]
    later = ResumableCSVLogger(tmp_path)
    assert later.experiment.read()
    assert lines(tmp_path) == whole  # a resume that is refused, or killed here, leaves them
    later.keep_until(2)
    assert lines(tmp_path) == whole[:-1]
    later.log_metrics({"train/loss": 2.0, "lr": 0.1}, 2)
    later.save()
    assert lines(tmp_path) == ["lr,step,train/loss,val/top1", ",0,2.5,", ",1,2.25,", ",1,,0.5", "0.1,2,2.0,"]


def test_a_kill_while_the_header_changes_leaves_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logged(tmp_path, (0, {"train/loss": 2.5}))

    def die(self: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", die)
        logger.log_metrics({"val/top1": 0.5}, 0)
        with pytest.raises(KeyboardInterrupt):
            logger.save()
    assert lines(tmp_path) == ["step,train/loss", "0,2.5"]


@pytest.mark.parametrize("cut", ["1", "1,2.2", "1,2.25,0.5"])
def test_a_row_that_a_kill_cut_off_is_none(tmp_path: Path, cut: str) -> None:
    logged(tmp_path, (0, {"train/loss": 2.5, "val/top1": 0.25}))
    with (tmp_path / "metrics.csv").open("a", encoding="utf-8", newline="") as handle:
        handle.write(cut)
    ResumableCSVLogger(tmp_path).keep_until(9)
    assert lines(tmp_path) == ["step,train/loss,val/top1", "0,2.5,0.25"]


def test_a_row_that_was_written_before_its_checkpoint_is_not_written_twice(tmp_path: Path) -> None:
    logged(tmp_path, (0, {"train/loss": 2.5}), (0, {"train/loss": 2.5}), (1, {"train/loss": 2.5}))
    assert lines(tmp_path) == ["step,train/loss", "0,2.5", "1,2.5"]
