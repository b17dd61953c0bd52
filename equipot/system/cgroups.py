"""Where Linux's control groups, which containers and batch systems limit processes with, say what this one may use."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def group_folders(controller: str) -> list[Path]:
    """Return the folders that can hold a limit of ``cpu`` or ``memory``: this process's groups and those above them.

    Folders of version 2 and of version 1 of control groups; some may not exist. Empty on other systems.
    """
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = ROOT
        elif controller in controllers.split(","):
            root = ROOT / controller
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the path is often the host's, and the group itself is mounted at the root.
        folders += [folder for folder in (group, *group.parents) if folder.is_relative_to(root)]
    return folders
