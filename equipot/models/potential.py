"""The potential: energies in eV from an architecture, and every derivative of them, in one place."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import nn

from equipot.elements import MAX_ATOMIC_NUMBER, atomic_number, covalent_radius, symbol
from equipot.errors import ElementError, NumericalError
from equipot.kernels import Coordination, EdgeIndex, assemble_forces, gradients_of
from equipot.kernels.reference import sum_by_index
from equipot.models.architecture import Edges
from equipot.models.config import PotentialConfig
from equipot.models.output import ModelOutput
from equipot.models.registry import build_options, entry
from equipot.models.wired import WiredArchitecture
from equipot.nn import ZBLRepulsion

if TYPE_CHECKING:
    from equipot.graph import AtomicGraph


class Potential(nn.Module):
    """E_i = E0[z] + s_i shift[z] + scale[z] (e_i - e_isolated[z]) + ZBL_i, and its derivatives.

    ``e`` is the architecture's node energy. With ``exact_isolated_atoms`` its value for a lone atom of the same
    species is subtracted, and ``s_i = tanh(sum_j envelope(r_ij))`` switches the shift off as the last neighbour
    leaves, so that an atom without neighbours has exactly E0 and nothing jumps on the way there; without it
    ``s_i = 1`` and nothing is subtracted.

    Geometry is float64, the architecture runs in ``dtype``, energies are summed in float64. Everything is
    differentiated with respect to the edge vectors: forces, stress and per-atom virials follow from one backward pass.

    Attributes:
        config: what defines the potential besides its tensors.
        elements: symbols, by ascending atomic number; species k is ``elements[k]``.
        cutoff: Angstrom.
        atomic_energies: (num_elements,) float64 buffer, eV.
        scale, shift: (num_elements,) float64, eV; parameters if ``config.trainable_scale_shift``.
        metadata: what the model file says besides (training data, licence, ...); empty for a new potential.
    """

    def __init__(self, config: PotentialConfig) -> None:
        super().__init__()
        self.config = config
        self.metadata: dict = {}
        options = build_options(config.architecture, config.options)
        self.architecture = (
            entry(config.architecture)
            .module_class(
                options,
                num_species=len(config.elements),
                cutoff=config.cutoff,
                avg_num_neighbors=config.avg_num_neighbors,
            )
            .to(config.torch_dtype)
        )
        numbers = [atomic_number(element) for element in config.elements]
        species_of_number = torch.full((120,), -1, dtype=torch.int64)
        species_of_number[numbers] = torch.arange(len(numbers))
        self.register_buffer("_species_of_number", species_of_number, persistent=False)
        zeros = torch.zeros(len(numbers), dtype=torch.float64)
        self.register_buffer("atomic_energies", zeros)
        for name, value in (("scale", zeros + 1), ("shift", zeros.clone())):
            if config.trainable_scale_shift:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        self.coordination = Coordination(config.cutoff, 6)
        self.zbl = None
        if config.zbl:
            radii = config.zbl_radii or [covalent_radius(element) for element in config.elements]
            self.zbl = ZBLRepulsion(numbers, radii, config.cutoff, config.zbl_constants)
        self._num_parameters = self.num_trainable_parameters()

    # --- what it is

    @property
    def elements(self) -> tuple[str, ...]:
        return self.config.elements

    @property
    def cutoff(self) -> float:
        return self.config.cutoff

    @property
    def dtype(self) -> torch.dtype:
        """dtype of the network."""
        return self.config.torch_dtype

    @property
    def device(self) -> torch.device:
        return self.atomic_energies.device

    @property
    def num_layers(self) -> int | None:
        """Message-passing layers: energies reach so many cutoffs; None: the architecture does not tell."""
        if isinstance(self.architecture, WiredArchitecture):
            return self.architecture.wiring.num_convolutions
        layers = getattr(self.architecture, "layers", None)
        return None if layers is None else len(layers)

    def num_parameters(self) -> int:
        """How many numbers a training from scratch would train, frozen now or not: the size of the model."""
        return self._num_parameters

    def num_trainable_parameters(self) -> int:
        """How many numbers train at present."""
        return sum(parameter.numel() for parameter in self.parameters() if parameter.requires_grad)

    def learning_rate_factors(self) -> dict[str, float]:
        """fan_in^-1/2 of every matrix, 1 for other parameters: weights are stored folded (see ``equipot.nn``)."""
        factors = {name: 1.0 for name, _ in self.named_parameters()}
        for module_name, module in self.named_modules():
            for name, fan_in in getattr(module, "fan_in", {}).items():
                factors[f"{module_name}.{name}"] = fan_in**-0.5
        return factors

    # --- energies

    def species(self, atomic_numbers: torch.Tensor) -> torch.Tensor:
        """(N,) atomic numbers -> (N,) species; ElementError names the first atom that is not known."""
        in_table = atomic_numbers.clamp(0, len(self._species_of_number) - 1)
        species = self._species_of_number[in_table]
        if bool((species < 0).any()):
            atom = int((species < 0).nonzero()[0])
            raise ElementError(f"Atom {atom} is {self._unknown(int(atomic_numbers[atom]))}")
        return species

    def _unknown(self, number: int) -> str:
        name = symbol(number) if 1 <= number <= MAX_ATOMIC_NUMBER else f"atomic number {number}"
        return f"{name}, which this potential does not know; it was trained on {', '.join(self.elements)}."

    def _species_of(self, graph: AtomicGraph) -> torch.Tensor:
        """Species of a graph's atoms; an error names the structure and counts atoms within it."""
        try:
            return self.species(graph.atomic_numbers)
        except ElementError:
            known = self._species_of_number[graph.atomic_numbers.clamp(0, len(self._species_of_number) - 1)] >= 0
            atom = int((~known).nonzero()[0])
            structure = int(graph.graph_index[atom])
            first = int((graph.graph_index == structure).nonzero()[0])
            source = graph.source if isinstance(graph.source, str) else graph.source[structure]
            where = f"{source}: atom" if source else "Atom"
            raise ElementError(f"{where} {atom - first} is {self._unknown(int(graph.atomic_numbers[atom]))}") from None

    def node_energies(
        self, species: torch.Tensor, center: torch.Tensor, neighbor: torch.Tensor, edge_vector: torch.Tensor
    ) -> torch.Tensor:
        """Energies of N atoms, differentiable in the edge vectors.

        Args:
            species: (N,) int64.
            center, neighbor: (E,) int64, sorted by centre.
            edge_vector: (E, 3) float64 Angstrom, from centre to neighbour.

        Returns:
            (N,) float64 eV.
        """
        edges = self._edges(species, center, neighbor, edge_vector)
        network = self.architecture(self._with_lone_atoms(species), edges).to(torch.float64)
        return self._surroundings(species, edges) + self._bound_energies(species, edges, network)

    def _edges(
        self, species: torch.Tensor, center: torch.Tensor, neighbor: torch.Tensor, edge_vector: torch.Tensor
    ) -> Edges:
        num_nodes = len(species) + self._num_lone_atoms
        return Edges(EdgeIndex.build(center, neighbor, num_nodes), edge_vector, self.dtype)

    @property
    def _num_lone_atoms(self) -> int:
        """One lone atom of every species rides along behind the structure's own atoms where its energy is needed."""
        return len(self.elements) if self.config.exact_isolated_atoms else 0

    def _with_lone_atoms(self, species: torch.Tensor) -> torch.Tensor:
        return torch.cat([species, torch.arange(self._num_lone_atoms, device=species.device)])

    def _surroundings(self, species: torch.Tensor, edges: Edges) -> torch.Tensor:
        """(N,) all that is not the network's: E0, the shift with its switch, ZBL."""
        shift = self.shift[species]
        if self.config.exact_isolated_atoms:
            shift = shift * torch.tanh(self.coordination(edges.exact_vector, edges.index, len(species)))
        energy = self.atomic_energies[species] + shift
        if self.zbl is not None:
            pair = self.zbl(edges.exact_length, species[edges.center], species[edges.neighbor])
            energy = energy + sum_by_index(pair.unsqueeze(1), edges.center, len(species)).squeeze(1)
        return energy

    def _bound_energies(self, species: torch.Tensor, edges: Edges, network: torch.Tensor) -> torch.Tensor:
        """(N,) scaled network energies, relative to lone atoms and exactly 0 without neighbours where so configured."""
        if self.config.exact_isolated_atoms:
            bound, isolated = network.split([len(species), self._num_lone_atoms])
            is_lone = (edges.index.center_ptr[1:] == edges.index.center_ptr[:-1])[: len(species)]
            network = (bound - isolated.index_select(0, species)).masked_fill(is_lone, 0.0)
        return self.scale[species] * network

    # --- derivatives

    def forward(
        self,
        graph: AtomicGraph,
        *,
        forces: bool = True,
        stress: bool = True,
        virial: bool = False,
        node_virial: bool = False,
        create_graph: bool = False,
    ) -> ModelOutput:
        """Evaluate a structure or a batch of structures.

        Args:
            graph: N atoms, E edges within the cutoff, B structures. Left unchanged.
            forces, stress, virial, node_virial: which derivatives to compute.
            create_graph: keep the results differentiable (training). Otherwise they are detached, and computed also
                under ``torch.no_grad()``.

        Raises:
            ElementError: an atom of an element the potential does not know.
        """
        wants_derivative = forces or stress or virial or node_virial
        edge_vector = graph.edge_vectors().detach()
        species = self._species_of(graph)
        center, neighbor = graph.edge_index
        with torch.set_grad_enabled(create_graph or wants_derivative):
            if wants_derivative:
                edge_vector.requires_grad_()
            edges = self._edges(species, center, neighbor, edge_vector)
            node_energy, gradient = self._energies_and_gradient(species, edges, wants_derivative, create_graph)
            output = self._collect(graph, node_energy, edges, gradient, forces, stress, virial, node_virial)
        return output if create_graph else _detached(output)

    def _energies_and_gradient(
        self, species: torch.Tensor, edges: Edges, wants_gradient: bool, create_graph: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(N,) energies and (E, 3) their gradient in the edge vectors, None if it is not wanted."""
        everyone, vector = self._with_lone_atoms(species), edges.exact_vector
        if create_graph and wants_gradient and hasattr(self.architecture, "energy_and_gradient"):
            seed = torch.cat([self.scale[species], self.scale.new_zeros(self._num_lone_atoms)])
            taped = self.architecture.energy_and_gradient(everyone, edges, seed)
            if taped is not None:
                rest, is_trained = self._surroundings(species, edges), self.shift.requires_grad
                gradient = taped[1] + self._edge_gradient(rest.sum(), vector, is_trained)
                rest = rest if is_trained else rest.detach()
                return rest + self._bound_energies(species, edges, taped[0]), gradient
        network = self.architecture(everyone, edges).to(torch.float64)
        node_energy = self._surroundings(species, edges) + self._bound_energies(species, edges, network)
        return node_energy, self._edge_gradient(node_energy.sum(), vector, create_graph) if wants_gradient else None

    def _edge_gradient(self, energy: torch.Tensor, edge_vector: torch.Tensor, create_graph: bool) -> torch.Tensor:
        """(E, 3) dE/d(edge vector), zeros where the energy does not depend on any edge."""
        if not energy.requires_grad:
            return torch.zeros_like(edge_vector)
        with gradients_of("inputs"):
            (gradient,) = torch.autograd.grad(energy, edge_vector, create_graph=create_graph, allow_unused=True)
        return torch.zeros_like(edge_vector) if gradient is None else gradient

    def _collect(
        self,
        graph: AtomicGraph,
        node_energy: torch.Tensor,
        edges: Edges,
        gradient: torch.Tensor | None,
        forces: bool,
        stress: bool,
        virial: bool,
        node_virial: bool,
    ) -> ModelOutput:
        """Sum per-edge derivatives into forces, virials and stress."""
        graph_index, num_nodes, num_graphs = graph.graph_index, len(node_energy), graph.num_graphs
        energy = sum_by_index(node_energy.unsqueeze(1), graph_index, num_graphs).squeeze(1)
        output = ModelOutput(energy=energy, node_energy=node_energy)
        if gradient is None:
            return output
        vector = edges.exact_vector.detach()
        all_forces, share = assemble_forces(gradient, vector, edges.index, num_nodes)
        if forces:
            output.forces = all_forces
        if node_virial:
            half = -0.5 * _symmetric(vector.unsqueeze(2) * gradient.unsqueeze(1)).flatten(1)
            per_node = sum_by_index(half, edges.center, num_nodes) + sum_by_index(half, edges.neighbor, num_nodes)
            output.node_virial = per_node.unflatten(1, (3, 3))
        if stress or virial:
            total = _symmetric(sum_by_index(share.flatten(1), graph_index, num_graphs).unflatten(1, (3, 3)))
            output.virial = total if virial else None
            if stress:
                volume = graph.volume.view(-1, 1, 1)
                # The NaN is chosen, not multiplied with: a gradient of zero has to stay zero on its way back.
                output.stress = torch.where(volume > 0, total / -volume.clamp(min=1e-300), torch.nan)
        return output

    def hessian_vector_product(self, graph: AtomicGraph, vector: torch.Tensor) -> torch.Tensor:
        """The Hessian of the energy times a vector, without forming the Hessian.

        Args:
            graph: one structure or several (the Hessian is then block diagonal).
            vector: (N, 3).

        Returns:
            (N, 3): sum_jb d2E / dr_ia dr_jb * vector_jb, eV/Angstrom^2 times the unit of ``vector``.
        """
        positions = graph.positions.detach().clone().requires_grad_()
        moved = graph.clone()
        moved.positions = positions
        with torch.enable_grad(), gradients_of("inputs"):
            species = self._species_of(graph)
            energy = self.node_energies(species, *graph.edge_index, moved.edge_vectors()).sum()
            if not energy.requires_grad:
                return torch.zeros_like(positions)
            (gradient,) = torch.autograd.grad(energy, positions, create_graph=True)
            if not gradient.requires_grad:
                return torch.zeros_like(positions)
            (product,) = torch.autograd.grad((gradient * vector.detach()).sum(), positions)
        return product.detach()

    def hessian(self, graph: AtomicGraph) -> torch.Tensor:
        """The full Hessian d2E / dr_ia dr_jb, (N, 3, N, 3) eV/Angstrom^2, by N * 3 products."""
        num_nodes = graph.num_nodes
        unit = torch.eye(3 * num_nodes, dtype=torch.float64, device=self.device)
        rows = [self.hessian_vector_product(graph, row.view(num_nodes, 3)) for row in unit]
        return torch.stack(rows).view(num_nodes, 3, num_nodes, 3) if rows else unit.view(0, 3, 0, 3)

    # --- conversion

    def to_dtype(self, dtype: str) -> Potential:
        """A copy of the potential whose network runs in ``float32`` or ``float64``."""
        with torch.random.fork_rng(devices=[]):
            other = Potential(dataclasses.replace(self.config, dtype=dtype)).to(self.device)
        other.load_state_dict(self.state_dict())
        other.metadata = dict(self.metadata)
        return other.train(self.training)

    def check_finite(self) -> None:
        """Raise NumericalError naming a parameter or buffer that holds NaN or infinity."""
        for name, tensor in self.state_dict().items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise NumericalError(f"The potential's tensor {name} is not finite.")


def _detached(output: ModelOutput) -> ModelOutput:
    return ModelOutput(**{name: None if value is None else value.detach() for name, value in vars(output).items()})


def _symmetric(matrix: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) -> the symmetric part."""
    return 0.5 * (matrix + matrix.transpose(-2, -1))
