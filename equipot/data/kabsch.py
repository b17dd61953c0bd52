"""The rotation that brings one set of points onto another."""

from __future__ import annotations

import numpy as np


def rotation_onto(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Find the proper rotation R with ``points @ R`` nearest to ``target`` (W. Kabsch, Acta Cryst. A 32 (1976) 922).

    Args:
        points, target: (N, 3), both about their centres.
    """
    left, _, right = np.linalg.svd(points.T @ target)
    return left @ np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right)) or 1.0]) @ right
