"""Elastic constants of a crystal with its symmetry imposed, Born stability and averages over a polycrystal."""

from __future__ import annotations

import numpy as np
from matscipy.elasticity import Voigt_6x6_to_full_3x3x3x3, full_3x3x3x3_to_Voigt_6x6

from equipot.properties.case import Case
from equipot.properties.elastic import elastic_constants
from equipot.properties.result import Findings
from equipot.properties.structures import cartesian_rotations

#: Independent constants of a crystal system, as (row, column) of the Voigt matrix; others: all that are not zero.
_INDEPENDENT = {
    "cubic": ("C11", "C12", "C44"),
    "hexagonal": ("C11", "C12", "C13", "C33", "C44"),
    "trigonal": ("C11", "C12", "C13", "C14", "C15", "C33", "C44"),
    "tetragonal": ("C11", "C12", "C13", "C16", "C33", "C44", "C66"),
    "orthorhombic": ("C11", "C12", "C13", "C22", "C23", "C33", "C44", "C55", "C66"),
}
#: GPa: below this a constant that symmetry may or may not forbid is not listed.
_NEGLIGIBLE = 1e-6


def symmetrize(matrix: np.ndarray, rotations: np.ndarray) -> np.ndarray:
    """Average a (6, 6) Voigt matrix over the (K, 3, 3) Cartesian rotations of a crystal."""
    tensor = Voigt_6x6_to_full_3x3x3x3(0.5 * (matrix + matrix.T))
    rotated = np.einsum("nai,nbj,nck,ndl,ijkl->abcd", *(rotations,) * 4, tensor, optimize=True) / len(rotations)
    return full_3x3x3x3_to_Voigt_6x6(rotated, check_symmetry=False)


def averages(matrix: np.ndarray) -> dict[str, float]:
    """Voigt's, Reuss' and Hill's averages of a (6, 6) matrix (GPa).

    Source: R. Hill, Proc. Phys. Soc. A 65, 349 (1952); universal anisotropy: S. I. Ranganathan, M. Ostoja-Starzewski,
    Phys. Rev. Lett. 101, 055504 (2008). The compliance is that of engineering shear strains.
    """
    s = np.linalg.inv(matrix)

    def bulk_and_shear(m: np.ndarray, shear_weight: float) -> tuple[float, float, float]:
        diagonal, off, shear = np.trace(m[:3, :3]), m[0, 1] + m[0, 2] + m[1, 2], np.trace(m[3:, 3:])
        return diagonal + 2.0 * off, diagonal - off, shear_weight * shear

    total, deviatoric, shear = bulk_and_shear(matrix, 3.0)
    bulk_voigt, shear_voigt = total / 9.0, (deviatoric + shear) / 15.0
    total, deviatoric, shear = bulk_and_shear(s, 3.0)
    bulk_reuss, shear_reuss = 1.0 / total, 15.0 / (4.0 * deviatoric + shear)
    bulk, shear = 0.5 * (bulk_voigt + bulk_reuss), 0.5 * (shear_voigt + shear_reuss)
    return {
        "bulk_modulus_voigt": bulk_voigt,
        "bulk_modulus_reuss": bulk_reuss,
        "bulk_modulus_hill": bulk,
        "shear_modulus_voigt": shear_voigt,
        "shear_modulus_reuss": shear_reuss,
        "shear_modulus_hill": shear,
        "youngs_modulus_hill": 9.0 * bulk * shear / (3.0 * bulk + shear),
        "poisson_ratio_hill": (3.0 * bulk - 2.0 * shear) / (2.0 * (3.0 * bulk + shear)),
        "universal_anisotropy": 5.0 * shear_voigt / shear_reuss + bulk_voigt / bulk_reuss - 6.0,
    }


def measure_elastic(case: Case) -> Findings:
    """Measure elastic constants in the standard axes of the crystal (a along x, c along z in hexagonal ones)."""
    settings = case.settings.elastic
    raw = elastic_constants(case.crystal, case.calculator, strain=settings.strain, fmax=settings.fmax)
    matrix = symmetrize(raw.matrix, cartesian_rotations(case.crystal, case.tolerance))
    findings = Findings()
    for name in _names(matrix, case.symmetry.system):
        findings.add(name, matrix[int(name[1]) - 1, int(name[2]) - 1], "GPa")
    eigenvalues = np.linalg.eigvalsh(matrix)
    broken = float(np.abs(raw.matrix - matrix).max())
    findings.curves = {
        "matrix_gpa": matrix.tolist(),
        "eigenvalues_gpa": eigenvalues.tolist(),
        "asymmetry_gpa": raw.asymmetry_gpa,
        "symmetry_violation_gpa": broken,
    }
    findings.add("smallest_eigenvalue", eigenvalues[0], "GPa")
    if eigenvalues[0] > 0.0:
        for name, value in averages(matrix).items():
            findings.add(name, value, "" if name in ("poisson_ratio_hill", "universal_anisotropy") else "GPa")
        findings.note("Born stable: every eigenvalue of the elastic constants is positive.")
    else:
        findings.doubt(
            f"Not stable (Born): the elastic constants have the eigenvalue {eigenvalues[0]:.3g} GPa; the "
            "crystal gains energy by that strain, and polycrystal averages have no meaning."
        )
    if max(broken, raw.asymmetry_gpa) > max(0.5, 0.01 * np.abs(matrix).max()):
        findings.doubt(
            f"The stresses break the symmetry of the crystal by up to {broken:.2g} GPa and that of "
            f"C_ij = C_ji by {raw.asymmetry_gpa:.2g} GPa; a float64 model or a smaller fmax helps."
        )
    return findings


def _names(matrix: np.ndarray, system: str) -> list[str]:
    every = [f"C{i + 1}{j + 1}" for i in range(6) for j in range(i, 6)]
    wanted = _INDEPENDENT.get(system, every)
    return [
        name
        for name in every
        if name in wanted
        and (name in _INDEPENDENT["cubic"] or abs(matrix[int(name[1]) - 1, int(name[2]) - 1]) > _NEGLIGIBLE)
    ]
