"""Times of each stage of the demo: cold (nothing there) and warm (typed again).

    ./just shoal lab down --purge; python3 benchmarks/demo.py --repeat 2

The first run is as cold as the machine is; every further one is warm. Prints a Markdown table with the ratio of each
warm run to the first. Uses nothing but the launcher, so it measures what a user waits for, environment included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def timed_demo(arguments: list[str]) -> dict[str, float]:
    """Seconds of each stage and of the whole, launcher included, of one `./just demo`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "timings.json"
        begun = time.monotonic()
        command = [str(REPOSITORY / "just"), "demo", "--yes", "--timings", str(path), *arguments]
        subprocess.run(command, check=True, stdout=sys.stderr, cwd=REPOSITORY)
        whole = time.monotonic() - begun
        stages: dict[str, float] = json.loads(path.read_text())["stages"]
    return {"launcher": round(whole - sum(stages.values()), 2), **stages, "all": round(whole, 2)}


def main() -> None:
    """Run the demo `--repeat` times and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=2, help="runs in all; the first is the cold one")
    parser.add_argument("demo", nargs="*", help="options handed to the demo, after --")
    given = parser.parse_args()
    runs = [timed_demo(given.demo) for _ in range(given.repeat)]
    first, *others = runs
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    print(f"commit {commit.stdout.strip()[:12]}, {os.cpu_count()} processors; seconds, in brackets against the first\n")
    print("| stage | first |" + "".join(f" again {number} |" for number in range(1, len(runs))))
    print("| --- | ---: |" + " ---: |" * len(others))
    for stage, seconds in first.items():
        cells = "".join(f" {run[stage]:.1f} ({run[stage] / seconds:.2f}) |" if seconds else " - |" for run in others)
        print(f"| {stage} | {seconds:.1f} |{cells}")


if __name__ == "__main__":
    main()
