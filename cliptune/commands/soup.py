"""`cliptune soup`: the average of several runs' weights."""

from pathlib import Path

from cliptune.call import call


def run(words: list[str]) -> None:
    """Run `soup`."""
    call("soup", words, soup)


def soup(*runs: str, greedy: bool = False, output: Path = Path("runs/soup")) -> None:
    """Average runs of one recipe, and say what it is worth.

    Args:
        runs: their folders.
        greedy: take a run in only where validation does not fall by it.
        output: the folder to write.
    """
    from cliptune.quiet import quiet

    quiet()
    from rich.console import Console
    from rich.table import Table

    from cliptune.soup import cook

    found = cook([Path(run) for run in runs], output, greedy)
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("run")
    table.add_column("validation", justify="right")
    table.add_column("in the soup")
    for one in found.ingredients:
        table.add_row(str(one.run), "-" if one.validation is None else f"{one.validation:.4f}", "yes" if one.taken else "no")
    table.add_row("[bold]soup", "-" if found.validation is None else f"[bold]{found.validation:.4f}", "")
    console = Console()
    console.print(table)
    for name, value in found.test.items():
        print(f"test/{name}: {value:.4f}, the best single run {found.best_single[name]:.4f}")
    if found.why:
        print(f"not scored: {found.why}")
    print(f"run folder: {output}")
