#!/usr/bin/env python3
"""Measures what tracing costs: runs each program plain and traced in turn, and prints one table of ratios.

    python3 benches/overhead.py [--rounds N] [WORKLOAD ...]

Each program is also traced without Python's own blocks (TFTRACE_PYTHON=0). Runs are interleaved (plain, traced, traced
without, plain, ...), so that a machine that gets slower meanwhile slows all. A ratio is traced / plain of one round; the
table has the median of the rounds, and the smallest and the largest.
"""

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
WORKLOADS = {
    "import tensorflow": ["-c", "import tensorflow"],
    "examples/serve.py": [str(REPOSITORY / "examples/serve.py")],
}
KINDS = {"": {}, ", TFTRACE_PYTHON=0": {"TFTRACE_PYTHON": "0"}}


def output_of(*command: str) -> str:
    """The last line that a command prints."""
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def run(command: list[str], environment: dict[str, str], place: str) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds (threads of the tracer included) and peak resident megabytes of one run."""
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    if status:
        sys.exit(f"overhead.py: {command}: ended with wait status {status}: run it by hand to see why")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def spread(values: list[float]) -> str:
    """Median, and the range around it."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, at least 1 (default 5)")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"any of: {', '.join(WORKLOADS)}")
    options = parser.parse_args()
    chosen = options.workloads or list(WORKLOADS)
    if unknown := [name for name in chosen if name not in WORKLOADS]:
        parser.error(f"no such workload: {unknown[0]}")

    library = pathlib.Path(output_of("./scripts/build.sh")) / "libtftrace.so"
    python = output_of("./scripts/venv.sh")
    version = output_of(python, "-c", "import importlib.metadata as m; print(m.version('tensorflow-cpu'))")
    commit = output_of("git", "describe", "--always", "--dirty")
    print(f"commit {commit}; TensorFlow {version}, {output_of(python, '--version')}, {platform.platform()}, "
          f"{os.cpu_count()} processors; {options.rounds} rounds")
    print(f"{'traced / plain':37} {'wall':>20} {'CPU':>20} {'peak RSS':>20} {'plain wall':>11} {'trace':>9}")
    for name in chosen:
        ratios: dict[str, list[tuple[float, ...]]] = {kind: [] for kind in KINDS}
        walls, sizes = [], {kind: [] for kind in KINDS}
        with tempfile.TemporaryDirectory() as place:
            plain = {key: value for key, value in os.environ.items() if not key.startswith("TFTRACE_")}
            plain.update(SERVE_BUILD=place, TF_CPP_MIN_LOG_LEVEL="2")
            trace = pathlib.Path(place) / "trace.bin"
            traced = plain | {"LD_PRELOAD": str(library), "TFTRACE_OUTPUT": str(trace)}
            command = [python, *WORKLOADS[name]]
            run(command, plain, place)  # Files that are read for the first time are slower.
            for _ in range(options.rounds):
                without = run(command, plain, place)
                walls.append(without[0])
                for kind, settings in KINDS.items():
                    trace.unlink(missing_ok=True)
                    with_tracer = run(command, traced | settings, place)
                    ratios[kind].append(tuple(b / a for a, b in zip(without, with_tracer)))
                    sizes[kind].append(trace.stat().st_blocks * 512 / 1e6)
        for kind in KINDS:
            wall, cpu, rss = (spread(list(values)) for values in zip(*ratios[kind]))
            print(f"{name + kind:37} {wall:>20} {cpu:>20} {rss:>20} "
                  f"{statistics.median(walls):9.2f} s {statistics.median(sizes[kind]):6.1f} MB")


if __name__ == "__main__":
    main()
