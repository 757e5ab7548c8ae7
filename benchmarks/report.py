"""The report of a run of 10,000 test images: seconds of reading the run folder and writing the page, and the page's size.

The run is made up: 200 classes, five captions of each image, thumbnails of noise, which compress worse than photographs do. The goals are
10 seconds and 5 MB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from measure import RESULTS, circumstances
from report_runs import make_run  # type: ignore[import-not-found]

from cliptune.report.writing import write_report

SECONDS, MEGABYTES = 10.0, 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--classes", type=int, default=200)
    parser.add_argument("--captions", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = make_run(Path(name) / "run", given.images, given.classes, given.captions)
        seconds = []
        for _ in range(given.repeats):
            began = time.perf_counter()
            file = write_report(folder)
            seconds.append(time.perf_counter() - began)
        size = file.stat().st_size / 1e6
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "cliptune", "report", str(folder)], check=True, capture_output=True)
        whole = time.perf_counter() - began
    case = f"{given.images:,} images, {given.classes} classes, {given.images * given.captions:,} captions"
    cells = [f"{seconds[0]:.2f}", f"{median(seconds):.2f}", f"{whole:.1f}", f"{size:.2f}"]
    head = ["", "first time, s", f"median of {given.repeats}, s", "`cliptune report`, imports included, s", "page, MB"]
    table = "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), [case, *cells]))
    goals = [
        {"case": f"the first time ({seconds[0]:.3g} s, goal <= {SECONDS:g})", "met": seconds[0] <= SECONDS},
        {"case": f"the page ({size:.3g} MB, goal <= {MEGABYTES:g})", "met": size <= MEGABYTES},
    ]
    print(table)
    whole_file = {**circumstances(), "table": table, "goals": goals, "seconds": seconds, "program": whole, "MB": size}
    (RESULTS / "report.json").write_text(json.dumps(whole_file, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
