"""`cliptune compare`: runs side by side, in the terminal, as a page, and as tables."""

from pathlib import Path

from cliptune.call import call
from cliptune.errors import ConfigError


def run(words: list[str]) -> None:
    """Run `compare`."""
    call("compare", words, compare)


def compare(*runs: str, output: Path | None = None, open: bool = False, metric: str | None = None) -> None:
    """Compare runs, and say which is best, and how sure that is.

    Args:
        runs: their folders, or folders that hold such.
        output: the folder to write; `compare`, beside the first run, where not given.
        open: open the page in the browser.
        metric: to compare on, such as test/top1.
    """
    if not runs:
        raise ConfigError("compare lacks its runs: cliptune compare RUN RUN ..., or a folder that holds them, such as runs.")
    from rich.console import Console

    from cliptune.comparison.comparing import compare as compared
    from cliptune.comparison.page import write_page
    from cliptune.comparison.sheets import write_sheets
    from cliptune.comparison.terminal import print_comparison

    found = compared([Path(run) for run in runs], metric)
    folder = output or found.home / "compare"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        files = [write_page(folder / "compare.html", found), *write_sheets(folder, found)]
    except OSError as error:
        raise ConfigError(f"compare cannot write {error.filename or folder}: {error.strerror or error}. Give another --output.") from None
    print_comparison(found, Console(highlight=False))
    print(f"\npage: {files[0]}   tables: {', '.join(str(file) for file in files[1:])}")
    if open:
        import webbrowser

        webbrowser.open(files[0].resolve().as_uri())
