"""What is measured: programs whose allocations differ in kind."""

import dataclasses
import os
import pathlib
import subprocess


@dataclasses.dataclass
class Workload:
    """A program, and whether an interpreter runs it."""

    name: str
    command: list[str]
    is_python: bool


# Mode, threads, depth, blocks of each thread: see malloc_pairs.c.
MALLOC = {
    "malloc pairs": ("pairs", 1, 0, 3_000_000),
    "malloc pairs x2": ("pairs", 2, 0, 3_000_000),
    "malloc pairs deep": ("pairs", 1, 60, 3_000_000),
    "malloc pairs deep x2": ("pairs", 2, 60, 3_000_000),
    "malloc batches deep": ("batches", 1, 60, 2_000_000),
    "malloc cross-thread": ("cross", 2, 60, 1_000_000),
}


def workloads(repository: pathlib.Path, python: str) -> list[Workload]:
    """All of them; builds what has to be built."""
    benches = repository / "benches"
    folder = repository / "target" / "benches"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "malloc_pairs"
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-g", "-pthread", "-o", program, benches / "malloc_pairs.c"],
                   check=True)
    found = [Workload(name, [str(program), *map(str, values)], False) for name, values in MALLOC.items()]
    loops = str(benches / "keras_loops.py")
    for name, arguments in {
        "import tensorflow": ["-c", "import tensorflow"],
        # The same, from call stacks twice as deep.
        "import keras": ["-c", "import keras"],
        "eager Keras loop": [loops, "eager"],
        "tf.function loop": [loops, "function"],
        "predict loop": [loops, "predict"],
        "SavedModel, 2 threads": [loops, "saved"],
        "examples/serve.py": [str(repository / "examples/serve.py")],
    }.items():
        found.append(Workload(name, [python, *arguments], True))
    return found
