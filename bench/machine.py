"""What the operating system knows: processor time and memory of a tree of processes, and what machine this is."""

import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
LIBRARIES = ("grpcio", "protobuf", "psycopg", "uvloop", "hypercorn", "sonora", "structlog")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of a process and all its descendants, the ended ones that were waited for included."""

    cpu_seconds: float
    resident_bytes: int


def usage(pid: int) -> Usage:
    """Ask the kernel what it charged, whatever the clients do meanwhile."""
    processes = _processes()
    family, found = [pid], {pid}
    for parent in family:
        children = [child for child, stat in processes.items() if int(stat[1]) == parent and child not in found]
        family += children
        found.update(children)
    stats = [processes[member] for member in family if member in processes]
    # proc(5), counted from the state: 13 and 14 are cutime and cstime, of children that have ended; 21 is the memory.
    ended = sum(int(stat[field]) for stat in stats for field in (13, 14)) * TICK
    return Usage(ended + sum(map(_cpu_seconds, family)), sum(int(stat[21]) for stat in stats) * PAGE)


def _cpu_seconds(pid: int) -> float:
    # clock_getcpuclockid(3): the processor time of another process, to the nanosecond; its stat has hundredths.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0  # it has just ended


def _processes() -> dict[int, list[str]]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(entry.name)] = text.rpartition(")")[2].split()
    return found


def facts() -> dict[str, str]:
    """Machine and versions, for whoever compares two runs."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": model,
        "memory_gib": f"{int(memory) / 2**20:.1f}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": f"{os.getloadavg()[0]:.2f}",
        **{library: version(library) for library in LIBRARIES},
    }
