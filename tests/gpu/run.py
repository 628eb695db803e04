"""Real programs on a real GPU under the tracer; what cannot run here is skipped, and said so.

    python3 tests/gpu/run.py DIRECTORY      with libtftrace.so and tftrace-analyze (scripts/build.sh prints it)

Each program allocates MARKER bytes TIMES times and keeps KEPT of the blocks. The trace must have exactly these.
"""

import ctypes
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

MARKER, TIMES, KEPT = 12_345_600, 40, 10
HERE = pathlib.Path(__file__).resolve().parent
# How each framework is told to ask CUDA for every block.
PROGRAMS = {
    "torch": ("use_torch.py", {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}),
    "cupy": ("use_cupy.py", {}),
    "jax": ("use_jax.py", {"XLA_PYTHON_CLIENT_ALLOCATOR": "platform", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}),
    "nvcc": ("use_cuda.cu", {}),
}


def gpu_is_missing():
    """Why there is no GPU to use; None if there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "libcuda.so.1 is not installed"
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return "the driver finds no device"
    return None


def command(name, source, place):
    """How the program is started; None if what it needs is not installed."""
    if name == "nvcc":
        if shutil.which("nvcc") is None:
            return None
        program = place / "use_cuda"
        subprocess.run(["nvcc", "-cudart", "shared", "-o", program, HERE / source], check=True)
        return [str(program)]
    return [sys.executable, str(HERE / source)] if importlib.util.find_spec(name) else None


def main():
    missing = gpu_is_missing()
    if missing:
        for name in PROGRAMS:
            print(f"skipped: {name}: {missing}")
        return 0
    tools = pathlib.Path(sys.argv[1]).resolve()
    failed = 0
    for name, (source, settings) in PROGRAMS.items():
        with tempfile.TemporaryDirectory() as directory:
            place = pathlib.Path(directory)
            run = command(name, source, place)
            if run is None:
                print(f"skipped: {name} is not installed")
                continue
            run += [str(MARKER), str(TIMES), str(KEPT)]
            environment = {**os.environ, **settings}
            began = time.monotonic()
            subprocess.run(run, env=environment, check=True)
            plain = time.monotonic() - began
            trace = place / "trace.bin"
            environment |= {"LD_PRELOAD": str(tools / "libtftrace.so"), "TFTRACE_OUTPUT": str(trace)}
            began = time.monotonic()
            subprocess.run(run, env=environment, check=True)
            traced = time.monotonic() - began
            analyze = [tools / "tftrace-analyze", "sizes", "--domain", "cuda", trace]
            lines = subprocess.run(analyze, check=True, capture_output=True, text=True).stdout.splitlines()
            rows = [line.split() for line in lines]
            found = [(int(row[1]), int(row[2])) for row in rows if row[0] == str(MARKER)]
            is_right = found == [(TIMES, TIMES - KEPT)]
            failed += not is_right
            print(f"{name}: {'exact' if is_right else f'WRONG: {found}'}; {plain:.1f} s plain, {traced:.1f} s traced")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
