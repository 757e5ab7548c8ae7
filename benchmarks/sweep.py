"""What a run of a sweep costs: forked from a process that has imported everything, against a Python of its own, in turns.

The run is that of a linear probe on few digits with nano, whose rows are cached, so that there is little but what each run must do. The
fork server is there before anything is timed; it costs one start for all runs. The page is docs/sweep.md.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import yaml

CONFIG = {
    "seed_everything": 1,
    "model": {
        "backbone": {"name": "nano"},
        "method": {"class_path": "LinearProbe", "init_args": {"solver": "lbfgs"}},
        "objective": "CrossEntropy",
    },
    "data": {"path": "digits", "shots": 4, "batch_size": 32},
    "trainer": {"limit_test_batches": 2},
    "run": {"pictures": False, "report": False},
    "evaluation": {"resamples": 0},
}


def timed(run: Callable[[], int]) -> float:
    began = time.perf_counter()
    if run():
        raise SystemExit("a run failed")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    from cliptune.commands.sweep import work
    from cliptune.sweep.running import Job, Lane, run_jobs

    with tempfile.TemporaryDirectory() as folder:
        config, log = Path(folder, "x.yaml"), Path(folder, "x.log")
        config.write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
        words = ["fit", "--config", str(config), "--run.root", folder]

        def forked() -> int:
            return next(iter(list(run_jobs([Job(0, lambda: words, log)], [Lane(None, 1)], work, ("cliptune.launch",))))).status

        def fresh() -> int:
            return subprocess.run([sys.executable, "-m", "cliptune", *words], capture_output=True).returncode

        forked(), fresh()  # the server imports, the cache fills
        pairs = []
        for _ in range(given.pairs):
            pairs.append((timed(forked), timed(fresh)))
            print(f"forked {pairs[-1][0]:.2f} s, a Python of its own {pairs[-1][1]:.2f} s", flush=True)
    ours, theirs, ratio = median(a for a, _ in pairs), median(b for _, b in pairs), median(a / b for a, b in pairs)
    print(f"median: forked {ours:.2f} s, a Python of its own {theirs:.2f} s, ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
