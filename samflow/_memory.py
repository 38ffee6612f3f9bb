"""How much memory there is, and numbers of bytes as people read them."""

import os
import resource
from pathlib import Path


def available() -> float:
    """Return the bytes that this process can still take: of the machine, its group, its limit."""
    found = [float("inf")]
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemAvailable:"):
            found.append(1024.0 * int(line.split()[1]))
    if len(found) == 1 and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(float(os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE"))
    limits, used = (_lines(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
    if limits and used and limits[0].isdigit():
        found.append(float(int(limits[0]) - int(used[0])))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    pages = _lines("/proc/self/statm")
    if soft != resource.RLIM_INFINITY and pages:
        found.append(float(soft - int(pages[0].split()[0]) * os.sysconf("SC_PAGE_SIZE")))
    return max(min(found), 0.0)


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def told(size: float) -> str:
    """Return a number of bytes as people read it."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
