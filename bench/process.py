"""What the operating system says of a process and does for it: memory, processor time, processors, open files.

Linux tells memory and time in ``/proc``; elsewhere memory comes from ``ps``, and processor time is not told. Processors
are assigned where the system has ``sched_setaffinity``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


def resident_kib(pid: int) -> int:
    """Memory of a process that is in RAM, in KiB."""
    status = Path(f"/proc/{pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    return int(subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, check=True).stdout)


def processor_s(pid: int) -> float:
    """Processor time that a process took so far, all threads, in seconds; 0 where it is not told."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measured_and_other_processors() -> tuple[set[int], set[int]]:
    """A processor for the process that is measured, and those for all else, so that neither takes the other's place;
    twice the same where there is only one, and twice nothing where none can be assigned."""
    if not hasattr(os, "sched_getaffinity"):
        return set(), set()
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, set(others) or {first}


def assign(pid: int, processors: set[int]) -> None:
    """Let a process, and those that it starts from now on, run on these processors only. 0 is this process."""
    if processors:
        os.sched_setaffinity(pid, processors)


def allow_open_files(count: int) -> None:
    """Raise the limit of open files of this process and its children, as far as the system allows."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
