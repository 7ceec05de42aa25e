"""What the machine gives an engine: cores and memory, as far as this process may use them."""

import os
from pathlib import Path

GB = 2**30
CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Quota and period, in microseconds, of the container this runs in; `max` is no quota."""


def cores() -> int:
    """Cores this process may use at once; a container's quota counts, where there is one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(allowed or 1, _quota()))


def _quota() -> int:
    try:
        quota, period = CPU_LIMIT.read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):
        return 2**16


def cache_gb() -> int:
    """Gigabytes for a key-value cache: an eighth of the memory, 1 to 8."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(8, memory // GB // 8))


def prefill_chunk() -> int:
    """Tokens that a step computes at most.

    Who is speaking waits for a step to end; on two cores 256 tokens of a small model take 0.15 s.
    """
    return min(2048, 128 * cores())
