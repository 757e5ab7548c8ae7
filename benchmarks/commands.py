"""The command behind each result: `python benchmarks/commands.py` runs all but two, one after another, and draws the pages; or those named.

The flags are those that the pages' figures were made with; the pages show them. A part that fails does not stop the others.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {  # by the file in results/ that it writes
    "train_peers": "python benchmarks/train_peers.py --pairs 2",
    "adapter_step": "python benchmarks/adapter_step.py --memory --pairs 2 --threads 1 --precision 32-true",
    "adapter_step_bf16": "python benchmarks/adapter_step.py --memory --pairs 2 --threads 1 --precision bf16-mixed",
    "coop_fit": "python benchmarks/coop_fit.py --epochs 50 --pairs 1 --views 0",
    "probe_peers": "python benchmarks/probe_peers.py --pairs 2",
    "zero_shot_peers": "taskset -c 1 python benchmarks/zero_shot_peers.py --threads 1 --pairs 2",
    "chunked_peers": "python benchmarks/chunked_step.py --against open_clip_train --threads 1",
    "start": "python benchmarks/start.py",
    "onnx_speed": "python benchmarks/onnx_speed.py",
    "few_shot_peers": "python benchmarks/few_shot_peers.py --threads 1",
    "few_shot_draws": "python benchmarks/few_shot_peers.py --draws --threads 1",
    "gpu_step": "python benchmarks/gpu_step.py",
    "full_step": "python benchmarks/full_step.py --pairs 4",
    "attention_forms": "python benchmarks/attention_forms.py --pairs 5",
    "probe_job": "python benchmarks/probe_job.py --images 2000 --threads 1",
    "probe_penalty": "python benchmarks/probe_penalty.py",
    "selection": "python benchmarks/selection.py",
    "probe_features": "python benchmarks/probe_features.py",
    "pooled_block": "python benchmarks/pooled_block.py --pairs 8",
    "loss_blocks": "python benchmarks/loss_blocks.py",
    "chunked_step": "python benchmarks/chunked_step.py --against whole --pairs 1",
    "retrieval": "python benchmarks/retrieval.py --threads 1 --pairs 1",
    "input_pipeline": "python benchmarks/input_pipeline.py",
    "decoded_cache": "python benchmarks/decoded_cache.py",
    "million_rows": "python benchmarks/million_rows.py",
    "folder_opening": "python benchmarks/folder_opening.py",
    "doctor": "python benchmarks/doctor.py --images 2000 --pairs 3",
    "transforms": "python benchmarks/transforms.py",
    "search": "python benchmarks/search.py --threads 2",
    "predict": "taskset -c 0 python benchmarks/predict.py --images 256 --pairs 5",
    "evaluation": "python benchmarks/evaluation.py --pairs 2 --threads 1",
    "report": "python benchmarks/report.py",
    "recipe_cost": "python benchmarks/recipe_cost.py",  # recipes/README.md
    "few_shot": "python benchmarks/few_shot.py",  # docs/few_shot.md
}
BY_NAME = ("few_shot_peers", "gpu_step")  # takes many hours; asks for a GPU


def ran(name: str) -> bool:
    """Run a command with this interpreter; whether it ended well."""
    print(f"\n{COMMANDS[name]}", flush=True)
    words = [sys.executable if word == "python" else word for word in shlex.split(COMMANDS[name])]
    return subprocess.run(words, cwd=ROOT).returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    every = [name for name in COMMANDS if name not in BY_NAME]
    parser.add_argument("names", nargs="*", default=every, choices=[*COMMANDS, every], metavar="NAME", help=", ".join(COMMANDS))
    failed = [name for name in parser.parse_args().names if not ran(name)]
    subprocess.run([sys.executable, "benchmarks/page.py"], cwd=ROOT, check=True)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
