"""What is known of published checkpoints beyond what their files say: name, licence, citation, level of theory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_SEVENNET = "Y. Park, J. Kim, S. Hwang, S. Han, J. Chem. Theory Comput. 20, 4857 (2024), doi:10.1021/acs.jctc.4c00190"
_SEVENNET_MF = f"{_SEVENNET}; J. Kim et al., J. Am. Chem. Soc. 147, 1042 (2025), doi:10.1021/jacs.4c14455"
_PBE = "PBE and PBE+U with the settings of the Materials Project"
_SEVENN_LICENCE = "MIT (of the sevenn distribution it comes with)"


@dataclass(frozen=True)
class Facts:
    """A published checkpoint.

    Attributes:
        name: what it is called.
        licence, citation: of the weights.
        level_of_theory: of the labels it was trained on, one text or one for each head.
        training_data: what the labels are.
    """

    name: str
    licence: str
    citation: str
    level_of_theory: str | Mapping[str, str]
    training_data: str
    file: str = ""
    aliases: tuple[str, ...] = field(default=())


#: By sha256 of the file.
PUBLISHED: dict[str, Facts] = {
    "7052cb42b7b3be42b40b97fa0d21077a48c54b5548948fc4dcf346629f813c36": Facts(
        "SevenNet-0 (11 July 2024)",
        _SEVENN_LICENCE,
        _SEVENNET,
        _PBE,
        "MPtrj",
        "SevenNet_0__11Jul2024",
        ("7net-0", "7net-0_11jul2024", "sevennet-0"),
    ),
    "5d389fafd512e6ae2830d74d0b66ffc49a55d3832653ff8e7bf7f1343013c1d1": Facts(
        "SevenNet-0 (22 May 2024)",
        _SEVENN_LICENCE,
        _SEVENNET,
        _PBE,
        "not stated in the file",
        "SevenNet_0__22May2024",
        ("7net-0_22may2024", "sevennet-0_22may2024"),
    ),
    "a7ff190d41efe5b8317a03d20a468e4036a1a3e64e0b14fdbab64ac3f4bfc09d": Facts(
        "SevenNet-l3i5", _SEVENN_LICENCE, _SEVENNET, _PBE, "MPtrj", "SevenNet_l3i5", ("7net-l3i5", "sevennet-l3i5")
    ),
    "81791329b37d445f46b531578c182c41792d98c7814222c9e5dde276402225fd": Facts(
        "SevenNet-MF-0",
        _SEVENN_LICENCE,
        _SEVENNET_MF,
        {"PBE": _PBE, "R2SCAN": "r2SCAN with the settings of the Materials Project"},
        "MPtrj and the Materials Project's r2SCAN calculations",
        "SevenNet_MF_0",
        ("7net-mf-0", "sevennet-mf-0"),
    ),
}
