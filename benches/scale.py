#!/usr/bin/env python3
"""Measures how the cost of tracing grows: memory added to a TensorFlow process, time for an event by how many blocks
live, and two threads beside one.

    python3 benches/scale.py [--rounds N] [memory|live|threads ...]

Plain and traced runs are interleaved; the figures are medians of the rounds. A smaller live heap is a window of
`pair_cost.c`: each block is freed so many allocations after it was made, in fifteen rounds of a million pairs, of which
the last one shows whether time has made a difference. It is measured in a host with one thread, whose events stay as
they are, and in one with a second thread, where the tracer compresses them in threads of its own: their time counts.
"""

import argparse
import itertools
import os
import pathlib
import re
import statistics
import subprocess
import tempfile

from overhead import REPOSITORY, output_of, run

LIVE = (1_000, 100_000, 10_000_000)
LOOPS = str(REPOSITORY / "benches/keras_loops.py")


def built(name: str) -> str:
    """A program of this folder, compiled."""
    folder = REPOSITORY / "target" / "benches"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    compiler = os.environ.get("CC", "cc")
    options = ["-O2", "-g", "-fno-builtin", "-pthread"]
    subprocess.run([compiler, *options, "-o", program, REPOSITORY / "benches" / f"{name}.c"], check=True)
    return str(program)


Kinds = dict[str, dict[str, str]]


def environments(library: str, place: pathlib.Path) -> Kinds:
    """What is compared."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("TFTRACE_", "LD_PRELOAD"))}
    plain |= {"TF_CPP_MIN_LOG_LEVEL": "2"}
    traced = plain | {"LD_PRELOAD": library, "TFTRACE_OUTPUT": str(place / "trace.bin")}
    return {"plain": plain, "traced": traced, "sampled": traced | {"TFTRACE_SAMPLE": "512KiB"}}


def clean(place: pathlib.Path) -> None:
    for file in place.glob("trace*"):
        file.unlink()


def printed(command: list[str], environment: dict[str, str], place: pathlib.Path) -> list[float]:
    """The numbers that a program prints."""
    clean(place)
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [float(number) for number in re.findall(r"[0-9.]+", done.stdout)]


def memory(kinds: Kinds, place: pathlib.Path, rounds: int) -> None:
    """Peak resident memory, and what each way of tracing adds."""
    python = output_of("./scripts/venv.sh")
    print(f"{'peak resident MB':22} {'plain':>9} {'traced':>9} {'sampled':>9}")
    for name, command in {"import tensorflow": [python, "-c", "import tensorflow"],
                          "eager Keras loop": [python, LOOPS, "eager"],
                          "predict loop": [python, LOOPS, "predict"]}.items():
        peaks: dict[str, list[float]] = {}
        for _ in range(rounds):
            for kind, environment in kinds.items():
                clean(place)
                peaks.setdefault(kind, []).append(run(command, environment, place)[2])
        plain, traced, sampled = (statistics.median(peaks[kind]) for kind in peaks)
        print(f"{name:22} {plain:9.0f} {traced - plain:+9.0f} {sampled - plain:+9.0f}", flush=True)


def live(kinds: Kinds, place: pathlib.Path, rounds: int) -> None:
    """Nanoseconds for a pair, median and last round, by blocks that live."""
    program = built("pair_cost")
    print(f"{'ns for a pair':22} {'plain':>16} {'traced':>16} {'sampled':>16}")
    for others, blocks in itertools.product((0, 1), LIVE):
        command = [program, "64", str(blocks), "20", str(others)]
        times: dict[str, list[list[float]]] = {}
        for _ in range(rounds):
            for kind, environment in kinds.items():
                times.setdefault(kind, []).append(printed(command, environment, place))
        row = [[statistics.median(column) for column in zip(*times[kind])] for kind in times]
        name = f"{blocks:,} live, {1 + others} thread{'s' * others}"
        print(f"{name:22}", *(f"{median:8.0f} {last:7.0f}" for _, median, last in row), flush=True)


def threads(kinds: Kinds, place: pathlib.Path, rounds: int) -> None:
    """What the slower of two threads takes for a block, to what one thread takes."""
    program = built("malloc_pairs")
    print(f"{'two threads to one':22} {'plain':>16} {'traced':>16} {'sampled':>16}")
    for depth in (0, 60):
        ratios: dict[str, list[float]] = {}
        for _ in range(rounds):
            for kind, environment in kinds.items():
                one, two = (printed([program, "pairs", str(count), str(depth), "2000000"], environment, place)[0]
                            for count in (1, 2))
                ratios.setdefault(kind, []).append(two / one)
        row = (statistics.median(ratios[kind]) for kind in ratios)
        print(f"{depth:2} calls deep         ", *(f"{ratio:16.2f}" for ratio in row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, at least 1 (default 3)")
    parser.add_argument("what", nargs="*", metavar="memory|live|threads", help="only these (default: all)")
    options = parser.parse_args()
    known = {"memory": memory, "live": live, "threads": threads}
    if unknown := [name for name in options.what if name not in known]:
        parser.error(f"no such measurement: {unknown[0]}; there are: {', '.join(known)}")
    library = str(pathlib.Path(output_of("./scripts/build.sh")) / "libtftrace.so")
    with tempfile.TemporaryDirectory() as folder:
        place = pathlib.Path(folder)
        for name in options.what or known:
            known[name](environments(library, place), place, options.rounds)


if __name__ == "__main__":
    main()
