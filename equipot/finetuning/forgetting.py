"""What a tuned potential has forgotten: how far it is from its frozen base on structures it was not tuned on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from equipot.data.datasets import frame_to_graph
from equipot.data.frames import Frame
from equipot.data.prototypes import prototype_structures
from equipot.finetuning.pseudo_labels import is_sound, labelled_frames
from equipot.graph import AtomicGraph
from equipot.models import Potential
from equipot.training.evaluate import Evaluation, evaluate

#: Seed of the structures, which replay (whose seed is the run's) does not use.
HELD_OUT_SEED = 982_451_653


@dataclass(frozen=True)
class BaseDomain:
    """Structures with the base's own predictions as labels, the atomic energies taken off.

    Attributes:
        base: frozen.
        frames: labelled.
        num_left_out: structures on which the base has absurd forces.
    """

    base: Potential
    frames: list[Frame]
    num_left_out: int = 0

    def deviation(self, tuned: Potential, *, batch_edges: int = 50_000) -> Evaluation:
        """Errors of a tuned potential taking the base for the truth, by config_type, with its predictions.

        Energies are compared after taking off each potential's own atomic energies, so that another zero of energy is
        no error.
        """
        return evaluate(tuned, self.graphs(tuned), batch_edges=batch_edges, device=tuned.device, collect=True)

    def graphs(self, tuned: Potential) -> list[AtomicGraph]:
        """The structures with the base's labels at the zero of energy of a tuned potential."""
        return [
            frame_to_graph(frame, self.base.cutoff, frame_id=place)
            for place, frame in enumerate(shifted(self.frames, tuned))
        ]


def held_out_domain(
    base: Potential, number: int = 200, seed: int = HELD_OUT_SEED, elements: Sequence[str] | None = None
) -> BaseDomain:
    """Rattled and strained crystals of the base's elements, made with a seed that no replay has.

    Args:
        base: labels them.
        number: of structures.
        seed: of the structures.
        elements: of the base; default: all of them.
    """
    structures = prototype_structures(elements or base.elements, number, seed)
    return domain_of(
        base,
        [
            Frame(atoms, config_type=atoms.info["config_type"], index=k, source=f"crystal {k}")
            for k, atoms in enumerate(structures)
        ],
    )


def domain_of(base: Potential, frames: Sequence[Frame]) -> BaseDomain:
    """The same for given structures."""
    own = dict(zip(base.elements, (-base.atomic_energies).tolist()))
    labelled = labelled_frames(base, frames, own)
    sound = [frame for frame in labelled if is_sound(frame)]
    return BaseDomain(base, sound, len(labelled) - len(sound))


def shifted(frames: Sequence[Frame], potential: Potential) -> list[Frame]:
    """Frames whose energies have the atomic energies of a potential added."""
    energies = dict(zip(potential.elements, potential.atomic_energies.tolist()))
    return [
        replace(frame, energy=frame.energy + sum(energies[symbol] for symbol in frame.atoms.symbols))
        for frame in frames
    ]
