"""Where and of what a report was made."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def about(size: str, seconds: float) -> dict[str, str | float]:
    """Return version, commit, machine, date, size and duration, by name."""
    import jax

    import samflow

    return {
        "samflow": samflow.__version__,
        "commit": commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "size": size,
        "seconds": round(seconds, 1),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": jax.devices()[0].device_kind,
        "machine": f"{_processor()}, {platform.system()}",
    }


def commit() -> str:
    """Return the commit that this checkout is at, with a + if files differ; or "unknown"."""
    found = _git("rev-parse", "--short=10", "HEAD")
    if not found:
        return "unknown"
    return f"{found}+" if _git("status", "--porcelain", "--untracked-files=no") else found


def _git(*command: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *command], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    """Return the name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
