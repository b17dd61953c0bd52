"""Small extended XYZ texts the data tests write, mend and break."""

from __future__ import annotations

HEADER = 'Lattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3:REF_forces:R:3 pbc="T T T"'


def frame(
    energy: float | str = -3.5,
    rows: int = 2,
    *,
    extra: str = "",
    header: str = HEADER,
    count: str | None = None,
    lines: list[str] | None = None,
) -> str:
    """One frame of a small periodic cell; any part can be given."""
    label = "" if energy is None else f" REF_energy={energy}"
    lines = lines or [f"Cu {0.9 * row:.2f} 0.10 0.20 0.01 -0.02 {0.03 * (-1) ** row:.2f}" for row in range(rows)]
    return "\n".join([str(rows) if count is None else count, f"{header}{label}{extra}", *lines]) + "\n"


def good(num_frames: int = 3) -> str:
    """A file of good frames, each another energy."""
    return "".join(frame(-3.5 - 0.1 * index) for index in range(num_frames))
