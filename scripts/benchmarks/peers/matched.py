"""The models: matched ones, what all packages have in common and where functions differ; converted ones."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from peers.structures import ELEMENTS

ARCHITECTURES = ("nequip", "mace")
CUTOFF = 5.0
L_MAX, NUM_LAYERS, NUM_BESSEL, CORRELATION = 2, 2, 8, 3
#: Normalises message sums; a number of the model, the same for every structure.
AVG_NUM_NEIGHBORS = 26.0
#: Hidden sizes of the radial networks: the defaults of sevenn and of MACE.
RADIAL_HIDDEN = {"nequip": (64, 64), "mace": (64, 64, 64)}
ENVELOPE_POWER = {"nequip": 6, "mace": 5}
#: Hidden size of MACE's last readout.
MACE_READOUT = 16
LEARNING_RATE = 0.001


@dataclass(frozen=True)
class Size:
    """Channels of every feature, and the highest order of the features atoms carry between layers."""

    channels: int
    feature_l_max: dict[str, int]

    def irreps(self, architecture: str) -> str:
        """The features in e3nn's notation, natural parity: ``32x0e+32x1o``."""
        orders = range(self.feature_l_max[architecture] + 1)
        return "+".join(f"{self.channels}x{l}{'eo'[l % 2]}" for l in orders)


SIZES = {"S": Size(32, {"nequip": 1, "mace": 1}), "M": Size(64, {"nequip": 2, "mace": 1})}

#: The size whose models are not matched but the same function: a peer's own, taken in by ``equipot convert``.
CONVERTED = "converted"


@dataclass(frozen=True)
class Pretrained:
    """A peer's own model.

    Attributes:
        title: what the table calls it.
        package: which peer it belongs to; no other takes part.
        family: what ``equipot convert`` calls its kind.
    """

    title: str
    package: str
    family: str


PRETRAINED = {
    "nequip": Pretrained("SevenNet-0", "sevenn", "sevennet"),
    "mace": Pretrained("shape of MACE-MP-0 (medium), random weights", "mace-torch", "mace"),
}


def fingerprint() -> str:
    """Changes when the models do, so that nothing compiled for other models is used again."""
    numbers = (CUTOFF, L_MAX, NUM_LAYERS, NUM_BESSEL, AVG_NUM_NEIGHBORS, RADIAL_HIDDEN, ENVELOPE_POWER, SIZES, ELEMENTS)
    return hashlib.sha256(repr(numbers).encode()).hexdigest()[:10]


COMMON = (
    f"All models: {NUM_LAYERS} layers, harmonics to l = {L_MAX}, cutoff {CUTOFF:g} A, {NUM_BESSEL} Bessel functions, "
    "six species, random weights. S: "
    + " / ".join(f"{SIZES['S'].irreps(a)} ({a})" for a in ARCHITECTURES)
    + "; M: "
    + " / ".join(f"{SIZES['M'].irreps(a)} ({a})" for a in ARCHITECTURES)
    + f"; MACE correlation {CORRELATION}. Inference: the package's ASE calculator, energy, forces and stress (the "
    "molecule: no stress), neighbour list included, positions that move as in MD at 300 K in steps of 2 fs. Training: "
    "one step on a batch made before, loss on energy, forces and stress (molecules: energy and forces), Adam. "
    "Converted: the same function in both packages, a model of the peer's own taken in by equipot convert; SevenNet-0 "
    "(5 layers, 128 channels at l = 0) comes with sevenn, the shape of MACE-MP-0 has 2 layers of 128x0e+128x1o, "
    "harmonics to l = 3, cutoff 6 A, 89 elements and random weights. What is said below of blocks and readouts "
    "is of the matched models."
)
#: How each package's model or work differs from the common description.
DIFFERENCES = {
    "equipot": "keeps a neighbour list with a skin of 0.5 A, as its users have it (rebuilt as often as in MD); "
    "subtracts the energy of a lone atom of every species; stress of molecules is not computed; its "
    "training step also clips the gradient norm, averages the weights (EMA), guards against non-finite "
    "numbers and keeps freed memory, as its training loop does. nequip architecture: self-connection by "
    "species in both layers, linear readout.",
    "mace-torch": "first interaction without residual (RealAgnosticInteractionBlock), as equipot's; its coupling "
    "tensors have more (linearly dependent) paths; new list by matscipy every call; "
    "no gradient clipping, no EMA.",
    "nequip": "radial network 8-64-64-weights as everywhere; no self-connection in the first layer, and in the second "
    "one over the whole type embedding (channels x channels) instead of the species; linear readout; new "
    "list by matscipy every call; no gradient clipping, no EMA; stress of molecules is computed.",
    "nequip-compiled": "the same as nequip; inference by nequip's AOTInductor export for ase, training by its compile "
    "mode (compile times are in the notes).",
    "sevenn": "full self-connection by species in both layers; hidden linear layer before the readout; new list by "
    "matscipy every call; no gradient clipping, no EMA; stress is computed always, also for molecules.",
    "snap": "published linear Ta SNAP (Thompson et al. 2015: 2J = 6, 31 coefficients, cutoff 4.676 A) with ZBL in "
    "LAMMPS, double precision whatever the column says: time per MD step (NVE, its own list).",
}
