"""The benchmark counts the CPU time of a program's children, whoever waits for them."""

from __future__ import annotations

import os
import sys

import numpy as np

from benchmarks.detector import measured

BURN_S = 0.6
BURN = f"import time; t = time.process_time()\nwhile time.process_time() - t < {BURN_S}: pass"
LEAVES_IT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", {BURN!r} + "\\ntime.sleep(60)"])
while sum(map(int, open(f"/proc/{{child.pid}}/stat").read().split()[13:15])) < {BURN_S} * 90:
    time.sleep(0.01)
child.kill()
"""


def test_a_child_that_was_killed_and_not_waited_for_counts() -> None:
    cores = sorted(os.sched_getaffinity(0))[:1]
    used = measured([sys.executable, "-S", "-c", LEAVES_IT], cores, {})
    assert used["cpu_s"] >= BURN_S * 0.9


def test_the_peak_memory_is_the_programs_and_not_that_of_the_benchmark() -> None:
    ours = np.ones(300_000_000, np.uint8)
    used = measured([sys.executable, "-S", "-c", "pass"], sorted(os.sched_getaffinity(0))[:1], {})
    assert used["peak_memory_mb"] < 100
    assert ours[-1] == 1
