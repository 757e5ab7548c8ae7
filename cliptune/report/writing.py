"""A report as a file: the sections in order, each a function of the run alone."""

from pathlib import Path

from cliptune.page.pictures import Pictures
from cliptune.page.shell import ROOM, Section, document
from cliptune.report.before_after import before_after
from cliptune.report.bias import bias
from cliptune.report.calibration import calibration
from cliptune.report.classes import classes
from cliptune.report.composition import composition
from cliptune.report.confusion import confusion
from cliptune.report.crops import crops
from cliptune.report.examples import examples
from cliptune.report.forgetting import forgetting
from cliptune.report.learned import learned
from cliptune.report.learning import learning
from cliptune.report.overview import again, cost, data, header, what_was_run
from cliptune.report.reading import RunRead, read_run
from cliptune.report.retrieval import retrieval
from cliptune.report.templates import templates
from cliptune.whole import write_whole

FILE = "report.html"
SECTIONS = (
    ("scores", "Before and after", before_after, ""),
    ("forgetting", "What was won, and what was forgotten", forgetting, "Forgetting"),
    ("learning", "Learning curves", learning, "Learning"),
    ("classes", "Class by class", classes, "Classes"),
    ("confusion", "What is taken for what", confusion, "Confusion"),
    ("calibration", "Calibration", calibration, ""),
    ("examples", "Examples", examples, ""),
    ("retrieval", "Retrieval", retrieval, ""),
    ("templates", "Which template helps", templates, "Templates"),
    ("composition", "How words are put together", composition, "Composition"),
    ("bias", "Differences between groups", bias, "Bias"),
    ("crops", "Several crops of each image", crops, "Crops"),
    ("learned", "What was learned", learned, "Learned"),
    ("run", "What was run", what_was_run, "Run"),
    ("data", "Data", data, ""),
    ("cost", "Time and memory", cost, "Cost"),
    ("again", "Run it again", again, "Again"),
)


def report_page(run: RunRead) -> str:
    """The page of a run; a section without anything to say is left out."""
    pictures = Pictures(run.examples.pictures, ROOM)
    made = [Section(anchor, title, make(run, pictures), short) for anchor, title, make, short in SECTIONS]
    versions = run.part("versions")
    foot = f"cliptune {versions.get('cliptune', '')} report of {run.folder}".replace("  ", " ")
    return document(f"{run.name}: what was won", header(run), made, foot)


def write_report(folder: Path, output: Path | None = None) -> Path:
    """Write `report.html`, whole or not at all.

    Args:
        folder: of the run.
        output: the file, where it goes elsewhere.

    Returns:
        The file.

    Raises:
        CheckpointError: the folder is no run's, or what lies in it is damaged.
    """
    text, file = report_page(read_run(folder)), output or folder / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda handle: handle.write(text.encode("utf-8", "replace")))
    return file
