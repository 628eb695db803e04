"""The tracers that are compared, and how each is started. Those of Debian are unpacked, not installed: no root is needed."""

import dataclasses
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable

Command = list[str]


def _nothing(_: pathlib.Path) -> dict[str, str]:
    return {}


def _unchanged(command: Command, _: pathlib.Path) -> Command:
    return command


def _no_report(_: pathlib.Path) -> Command | None:
    return None


@dataclasses.dataclass
class Peer:
    """A tracer. The folder that each function gets is where its trace goes."""

    name: str
    version: str
    environment: Callable[[pathlib.Path], dict[str, str]] = _nothing
    wrap: Callable[[Command, pathlib.Path], Command] = _unchanged
    report: Callable[[pathlib.Path], Command | None] = _no_report
    needs_python: bool = False


def peers(repository: pathlib.Path, built: pathlib.Path, python: str) -> list[Peer]:
    """tftrace in its ways of working, and all peers that can be had."""
    library, analyzer = built / "libtftrace.so", built / "tftrace-analyze"
    tftrace = {"": {}, " TFTRACE_PYTHON=0": {"TFTRACE_PYTHON": "0"}, " TFTRACE_SAMPLE=512KiB": {"TFTRACE_SAMPLE": "512KiB"}}
    found = []
    for name, settings in tftrace.items():
        found.append(Peer(
            f"tftrace{name}", "this commit",
            environment=lambda place, settings=settings: settings | {
                "LD_PRELOAD": str(library), "TFTRACE_OUTPUT": str(place / "trace.bin")},
            report=lambda place: [str(analyzer), str(place / "trace.bin"), "--output", str(place / "trace.html")],
            needs_python="TFTRACE_PYTHON" in settings))
    folder = repository / "target" / "benches"
    folder.mkdir(parents=True, exist_ok=True)
    for make in (_heaptrack, _memray, _jemalloc, _gperftools):
        try:
            found.extend(make(folder, python))
        except (OSError, subprocess.CalledProcessError, LookupError) as error:
            print(f"overhead.py: {make.__name__[1:]} is left out: {error}", file=sys.stderr)
    return found


def _debian(folder: pathlib.Path, package: str) -> tuple[pathlib.Path, str]:
    """A package of the distribution's, unpacked; and its version."""
    place = folder / package
    if not place.is_dir():
        subprocess.run(["apt-get", "download", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        archive = max(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(archive), str(place)], check=True)
    archives = sorted(folder.glob(f"{package}_*.deb"))
    return place, archives[-1].name.split("_")[1] if archives else "unknown"


def _library(folder: pathlib.Path, package: str, name: str) -> tuple[str, str]:
    place, version = _debian(folder, package)
    libraries = sorted(place.rglob(name))
    if not libraries:
        raise LookupError(f"{package} has no {name}")
    return str(libraries[0]), version


def _heaptrack(folder: pathlib.Path, _: str) -> list[Peer]:
    program = shutil.which("heaptrack")
    if not program:
        place, _ = _debian(folder, "heaptrack")
        _debian(folder, "libheaptrack")
        shutil.copytree(folder / "libheaptrack", place, dirs_exist_ok=True)
        program = str(place / "usr/bin/heaptrack")
    version = subprocess.run([program, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def trace(place: pathlib.Path) -> str:
        return str(max(place.glob("trace*")))

    def report(place: pathlib.Path) -> Command:
        return ["heaptrack_print", "-f", trace(place)]

    return [
        Peer("heaptrack", version, wrap=lambda command, place: [program, "-o", str(place / "trace"), *command],
             report=report if shutil.which("heaptrack_print") else _no_report),
        Peer("heaptrack --raw", version,
             wrap=lambda command, place: [program, "--raw", "-o", str(place / "trace"), *command]),
    ]


def _memray(folder: pathlib.Path, python: str) -> list[Peer]:
    place = folder / "memray"
    if not place.is_dir():
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--target", str(place), "memray"], check=True)
    about = next(iter(sorted(place.glob("memray-*.dist-info"))), None)
    if about is None:
        raise LookupError("pip installed no memray")

    def memray(*arguments: str) -> Command:
        return ["env", f"PYTHONPATH={place}", python, "-m", "memray", *arguments]

    def wrap(command: Command, trace: pathlib.Path) -> Command:
        return memray("run", "--native", "--trace-python-allocators", "-q", "-o", str(trace / "trace.bin"), *command[1:])

    def report(trace: pathlib.Path) -> Command:
        return memray("flamegraph", "--leaks", "-f", "-o", str(trace / "trace.html"), str(trace / "trace.bin"))

    return [Peer("memray --native", about.name.split("-")[1].removesuffix(".dist"), wrap=wrap, report=report,
                 needs_python=True)]


def _jemalloc(folder: pathlib.Path, _: str) -> list[Peer]:
    library, version = _library(folder, "libjemalloc2", "libjemalloc.so.2")
    return [Peer("jemalloc 512 KiB", version, environment=lambda place: {
        "LD_PRELOAD": library,
        "MALLOC_CONF": f"prof:true,lg_prof_sample:19,prof_final:true,prof_prefix:{place}/trace"})]


def _gperftools(folder: pathlib.Path, _: str) -> list[Peer]:
    library, version = _library(folder, "libgoogle-perftools4", "libtcmalloc.so.4.*")
    unwinder, _ = _library(folder, "libunwind8", "libunwind.so.8.*")
    path = pathlib.Path(unwinder).parent
    return [Peer("gperftools", version, environment=lambda place: {
        "LD_PRELOAD": library, "LD_LIBRARY_PATH": str(path), "HEAPPROFILE": str(place / "trace")})]
