"""The memory of this machine and this process, in bytes, with the limits of containers."""

from __future__ import annotations

from pathlib import Path

from equipot.system.cgroups import group_folders

_MEMINFO = Path("/proc/meminfo")
#: Files of a control group: its limit and what it uses, in version 2 and in version 1.
_LIMITS = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


def available_memory() -> int | None:
    """Return the bytes this process can still get without swapping; None where the system does not say."""
    found = [value for value in (_meminfo("MemAvailable"),) if value is not None]
    for limit, used in _group_limits():
        found.append(max(0, limit - used))
    return min(found) if found else None


def total_memory() -> int | None:
    """Return the bytes of this machine, or of the container; None where the system does not say."""
    found = [value for value in (_meminfo("MemTotal"),) if value is not None]
    found += [limit for limit, _ in _group_limits()]
    return min(found) if found else None


def resident_memory() -> int | None:
    """Return the bytes of memory this process holds now; None where the system does not say."""
    return _status("VmRSS")


def reset_peak_memory() -> bool:
    """Let :func:`peak_memory` count from now on; return whether the system can do that."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def peak_memory() -> int | None:
    """Return the most bytes held at any time since :func:`reset_peak_memory`, or the start; None if unknown."""
    return _status("VmHWM")


def _status(name: str) -> int | None:
    try:
        return _kilobytes(Path("/proc/self/status").read_text(encoding="utf-8"), name)
    except OSError:
        return None


def _kilobytes(text: str, name: str) -> int | None:
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    return None


def _meminfo(name: str) -> int | None:
    try:
        return _kilobytes(_MEMINFO.read_text(encoding="utf-8"), name)
    except (OSError, ValueError):
        return None


def _group_limits() -> list[tuple[int, int]]:
    """The limits on memory of the groups of this process and what is used of them."""
    limits = []
    for folder in group_folders("memory"):
        for names in _LIMITS:
            try:
                limit, used = (int((folder / name).read_text(encoding="utf-8")) for name in names)
            except (OSError, ValueError):  # also the word "max"
                continue
            limits.append((limit, used - _cache(folder)))
    return limits


def _cache(folder: Path) -> int:
    """Bytes of a group that hold parts of files: they count as used, but are given back when memory is asked for."""
    try:
        words = (folder / "memory.stat").read_text(encoding="utf-8").split()
        numbers = dict(zip(words[::2], map(int, words[1::2])))
    except (OSError, ValueError):
        return 0
    return numbers.get("total_cache", numbers.get("file", 0))  # version 1 and 2
