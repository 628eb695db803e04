#!/usr/bin/env python3
"""Measures what tracing costs, beside the other tracers there are: runs each program plain, under tftrace and under each
peer in turn, and prints one table of ratios.

    python3 benches/overhead.py [--rounds N] [--peers NAME,NAME] [--no-report] [WORKLOAD ...]

Runs are interleaved (A B C A B C ...), so that a machine that gets slower meanwhile slows all. A ratio is that of one round
to the plain run of the same round; the table has the median of the rounds, and the smallest and the largest. A peer that is
not there and cannot be had without root is left out, and a line says so. A trace's size is what it takes on the disk.
"""

import argparse
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from peers import Peer, peers
from workloads import Workload, workloads

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def output_of(*command: str) -> str:
    """The last line that a command prints."""
    done = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1]


def run(command: list[str], environment: dict[str, str], place: pathlib.Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds (helpers and threads of the tracer included) and peak resident megabytes of one run."""
    start = time.monotonic()
    child = subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - start
    if status:
        sys.exit(f"overhead.py: {command}: ended with wait status {status}: run it by hand to see why")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def disk_megabytes(folder: pathlib.Path) -> float:
    """What the files in a folder take on the disk."""
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file()) / 1e6


def spread(values: list[float]) -> str:
    """Median, and the range around it."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def measure(workload: Workload, kinds: list[Peer], rounds: int, report: bool) -> None:
    """Prints the rows of one workload."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("TFTRACE_", "LD_PRELOAD"))}
    plain |= {"TF_CPP_MIN_LOG_LEVEL": "2"}
    ratios: dict[str, list[tuple[float, ...]]] = {kind.name: [] for kind in kinds}
    sizes: dict[str, list[float]] = {kind.name: [] for kind in kinds}
    reports: dict[str, list[tuple[float, float]]] = {kind.name: [] for kind in kinds}
    walls = []
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        plain["SERVE_BUILD"] = folder
        run(workload.command, plain, home)  # Files that are read for the first time are slower.
        for number in range(rounds):
            without = run(workload.command, plain, home)
            walls.append(without[0])
            for kind in kinds:
                place = home / "traces"
                shutil.rmtree(place, ignore_errors=True)
                place.mkdir()
                with_tracer = run(kind.wrap(workload.command, place), plain | kind.environment(place), home)
                ratios[kind.name].append(tuple(b / a for a, b in zip(without, with_tracer)))
                sizes[kind.name].append(disk_megabytes(place))
                if report and number == 0 and (command := kind.report(place)):
                    wall, _, megabytes = run(command, plain, home)
                    reports[kind.name].append((wall, megabytes))
    for kind in kinds:
        wall, cpu, rss = (spread(list(values)) for values in zip(*ratios[kind.name]))
        told = "".join(f"{wall:6.1f} s {megabytes:6.0f} MB" for wall, megabytes in reports[kind.name])
        print(f"{workload.name:22} {kind.name:22} {wall:>20} {cpu:>20} {rss:>20} {statistics.median(walls):8.2f} s "
              f"{statistics.median(sizes[kind.name]):7.1f} MB {told:>19}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, at least 1 (default 5)")
    parser.add_argument("--peers", help="only these, separated by commas (default: all)")
    parser.add_argument("--no-report", action="store_true", help="do not measure what the reports cost")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="only these (default: all)")
    options = parser.parse_args()

    built = pathlib.Path(output_of("./scripts/build.sh"))
    python = output_of("./scripts/venv.sh")
    known = {workload.name: workload for workload in workloads(REPOSITORY, python)}
    if unknown := [name for name in options.workloads if name not in known]:
        parser.error(f"no such workload: {unknown[0]}; there are: {', '.join(known)}")
    kinds = {peer.name: peer for peer in peers(REPOSITORY, built, python)}
    asked = options.peers.split(",") if options.peers else list(kinds)
    if unknown := [name for name in asked if name not in kinds]:
        parser.error(f"no such peer here: {unknown[0]}; there are: {', '.join(kinds)}")

    version = output_of(python, "-c", "import importlib.metadata as m; print(m.version('tensorflow-cpu'))")
    commit = output_of("git", "describe", "--always", "--dirty")
    print(f"commit {commit}; TensorFlow {version}, {output_of(python, '--version')}, {platform.platform()}, "
          f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}; {options.rounds} rounds")
    for name in asked:
        print(f"{name}: {kinds[name].version}")
    print(f"{'workload':22} {'tracer':22} {'wall':>20} {'CPU':>20} {'peak RSS':>20} {'plain wall':>10} {'trace':>10} "
          f"{'report':>19}")
    for name in options.workloads or list(known):
        usable = [kinds[peer] for peer in asked if known[name].is_python or not kinds[peer].needs_python]
        measure(known[name], usable, options.rounds, not options.no_report)


if __name__ == "__main__":
    main()
