"""`cliptune report`: a run as one page."""

from pathlib import Path

from cliptune.call import call
from cliptune.errors import ConfigError


def run(words: list[str]) -> None:
    """Run `report`."""
    call("report", words, report)


def report(folder: str, *, output: Path | None = None, open: bool = False) -> None:
    """Write a run's report from the files of its folder.

    Args:
        folder: of the run.
        output: the file; `report.html` in the folder where not given.
        open: show it in the browser.
    """
    if output is not None and (output.suffix.lower() not in (".html", ".htm") or output.is_dir()):
        raise ConfigError(f"report --output {output} is no .html file. Write --output report.html")
    from cliptune.report.writing import write_report

    try:
        file = write_report(Path(folder), output)
    except OSError as error:
        raise ConfigError(
            f"report cannot write {error.filename or output or folder}: {error.strerror or error}. Give another --output."
        ) from None
    print(f"report: {file}  ({file.stat().st_size / 1e6:.1f} MB, needs no other file)")
    if open:
        import webbrowser

        webbrowser.open(file.resolve().as_uri())
