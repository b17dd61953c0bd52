"""MACE models of mace-torch (``.model`` files): scale-shift models with real-agnostic interactions.

The file is a pickled module; it is read as records of what would be built, their tensors and plain attributes. What
they mean was taken from the equations and held against mace-torch itself: see ``tests/unit/checkpoint/foreign``.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor

from equipot.checkpoint.foreign.folding import (
    MAX_PARTS,
    CouplingSigns,
    FilePath,
    Tensors,
    set_linear,
    set_network,
    set_radial_network,
    set_species_linear,
)
from equipot.checkpoint.foreign.imported import Imported, build_empty, choose_head, refuse
from equipot.checkpoint.foreign.pickle_data import Name, Record
from equipot.checkpoint.foreign.torch_archive import Archive
from equipot.elements import sorted_symbols, symbol
from equipot.errors import CheckpointError
from equipot.kernels.plans import symmetric_basis
from equipot.models import Potential, PotentialConfig, resolve_options
from equipot.nn import RepulsionConstants, SymmetricProduct

#: Interaction blocks -> (whether residual, whether normalised by the density).
_INTERACTIONS = {
    "RealAgnosticInteractionBlock": (False, False),
    "RealAgnosticResidualInteractionBlock": (True, False),
    "RealAgnosticDensityInteractionBlock": (False, True),
    "RealAgnosticDensityResidualInteractionBlock": (True, True),
}
_BOHR, _STRENGTH, _DECAYS = 0.529, 14.3996, (3.2, 0.9423, 0.4028, 0.2016)
#: Numbers that are constants of the code, or are read from elsewhere.
_CONSTANT_ENDINGS = ("output_mask", "r_max", "prefactor", "covalent_radii", "num_interactions", "_zeroed", ".p", "_p")


def read_mace(archive: Archive, head: str | None, dtype: str) -> Imported:
    """Take in a MACE model.

    Args:
        archive: of the file.
        head: of a model with several.
        dtype: of the network to be.

    Raises:
        CheckpointError: not such a model, or one of a kind that is not covered; it says what.
    """
    root = archive.content
    if not isinstance(root, Record) or root.kind is None or not root.kind.module.startswith("mace."):
        raise CheckpointError(f"{archive.path}: not a model of MACE (a file that mace_run_train ends with .model).")
    if root.kind.name != "ScaleShiftMACE":
        raise refuse(str(archive.path), f"the MACE class {root.kind.name}", "ScaleShiftMACE")
    return _Reader(str(archive.path), root, head, dtype).read()


def _walk(module: Record, prefix: str, tensors: dict[str, Tensor], modules: dict[str, Record]) -> None:
    if prefix.count(".") > 40 or len(modules) + len(tensors) > MAX_PARTS:
        raise CheckpointError("The modules of the file are nested too deep, or too many.")
    modules[prefix.rstrip(".")] = module
    for group in ("_parameters", "_buffers"):
        for name, value in (module.get(group) or {}).items():
            if isinstance(value, Tensor):
                tensors[prefix + name] = value
    for name, child in (module.get("_modules") or {}).items():
        if isinstance(child, Record):
            _walk(child, f"{prefix}{name}.", tensors, modules)


class _Reader:
    def __init__(self, where: str, root: Record, head: str | None, dtype: str) -> None:
        self.where, self.root, self.dtype = where, root, dtype
        tensors: dict[str, Tensor] = {}
        self.modules: dict[str, Record] = {}
        _walk(root, "", tensors, self.modules)
        self.tensors = Tensors(tensors, where)
        self.heads = list(root.get("heads") or ["Default"])
        self.head = choose_head(where, head, self.heads, "head")
        self.place = self.heads.index(self.head)
        self.numbers = [int(number) for number in self.tensors["atomic_numbers"]]
        self.rows = torch.tensor(sorted(range(len(self.numbers)), key=self.numbers.__getitem__))
        self.elements = sorted_symbols([symbol(number) for number in self.numbers])
        self.num_layers = int(self.tensors["num_interactions"])
        self._check()

    def _kind(self, name: str) -> str:
        module = self.modules.get(name)
        if module is None or module.kind is None:
            raise CheckpointError(f"{self.where}: it has no part {name}; it is not a whole model.")
        return module.kind.name

    def _check(self) -> None:
        for name in (
            "use_so3",
            "use_agnostic_product",
            "use_last_readout_only",
            "embedding_specs",
            "edge_irreps",
            "lammps_mliap",
        ):
            if self.root.get(name):
                raise refuse(self.where, f"MACE with {name}", "models without")
        for name, module in self.modules.items():
            for setting in ("cueq_config", "oeq_config"):
                if module.get(setting) is not None:
                    raise refuse(
                        self.where,
                        f"MACE converted for {setting.split('_')[0]} ({name})",
                        "models in e3nn's form: save it from a calculator without that",
                    )
        basis = self._kind("radial_embedding.bessel_fn")
        if basis != "BesselBasis":
            raise refuse(self.where, f"MACE with the radial basis {basis}", "BesselBasis")
        transform = self.modules.get("radial_embedding.distance_transform")
        if transform is not None and transform.kind.name != "AgnesiTransform":
            raise refuse(self.where, f"MACE with the distance transform {transform.kind.name}", "AgnesiTransform")
        kinds = [self._kind(f"interactions.{t}") for t in range(self.num_layers)]
        for kind in kinds:
            if kind not in _INTERACTIONS:
                raise refuse(self.where, f"MACE with the interaction {kind}", ", ".join(_INTERACTIONS))
        self.residual = [_INTERACTIONS[kind][0] for kind in kinds]
        density = {_INTERACTIONS[kind][1] for kind in kinds}
        if len(density) > 1 or not all(self.residual[1:]):
            raise refuse(
                self.where,
                f"MACE with the interactions {', '.join(kinds)}",
                "residual ones after the first, all or none of them normalised by the density",
            )
        self.has_density = density.pop()
        for t in range(self.num_layers):
            expected = "NonLinearReadoutBlock" if t == self.num_layers - 1 else "LinearReadoutBlock"
            if self._kind(f"readouts.{t}") != expected:
                raise refuse(self.where, f"MACE with the readout {self._kind(f'readouts.{t}')}", expected)
        gates = _names_in(self.modules[f"readouts.{self.num_layers - 1}.non_linearity"])
        # The file names functions that are Python's; of a gate built into torch, and of none at all, it has no name.
        if gates != {"silu"}:
            found = f"the gate {', '.join(sorted(gates))}" if gates else "no gate, or one of torch's own (tanh, abs)"
            raise refuse(self.where, f"MACE with {found}", "the gate silu")

    # --- the model

    def read(self) -> Imported:
        potential = self._build()
        network = potential.architecture
        num_species, channels = len(self.numbers), self.channels
        with torch.no_grad():
            network.radial.basis.wave_numbers.copy_(
                self.tensors["radial_embedding.bessel_fn.bessel_weights"] * potential.cutoff
            )
            embedding = self.tensors.shaped("node_embedding.linear.weight", num_species, channels)
            network.embedding.copy_(embedding[self.rows] / math.sqrt(num_species))
            for t, layer in enumerate(network.layers):
                self._layer(t, layer)
            for t, readout in enumerate(network.readouts):
                set_network(readout, self._readout(t), self.where)
            energies = self.tensors["atomic_energies_fn.atomic_energies"].reshape(-1, num_species)
            potential.scale.fill_(self.scale)
            shift = self.tensors["scale_shift.shift"].flatten()
            potential.shift.fill_(float(shift[self.place if len(shift) > 1 else 0]))
            potential.atomic_energies.copy_(energies[self.place if len(energies) > 1 else 0][self.rows])
        self.tensors.refuse_left_over(
            lambda name: (
                name.endswith(_CONSTANT_ENDINGS)
                or "_w3j_" in name
                or ".U_matrix_" in name
                or name.startswith("pair_repulsion_fn.")
            )
        )
        return Imported(
            potential,
            self.head,
            tuple(self.heads),
            "those of the file (isolated atoms, or as it was trained)",
            {"interactions": [self._kind(f"interactions.{t}") for t in range(self.num_layers)]},
        )

    def _build(self) -> Potential:
        tensors = self.tensors
        self.cutoff = float(tensors["r_max"])
        scale = tensors["scale_shift.scale"].flatten()
        self.scale = float(scale[self.place if len(scale) > 1 else 0])
        self.channels = tensors["node_embedding.linear.weight"].numel() // len(self.numbers)
        products = [self._contractions(t) for t in range(self.num_layers)]
        self.correlation = products[0][0][1]
        self.l_out = [[order for order, _, _ in contractions] for contractions in products]
        hidden = self.l_out[0] if self.num_layers > 1 else [0]
        if (
            any(correlation != self.correlation for part in products for _, correlation, _ in part)
            or any(part != list(range(len(part))) for part in self.l_out)
            or self.l_out[-1] != [0]
            or any(part != hidden for part in self.l_out[:-1])
        ):
            raise refuse(
                self.where,
                f"MACE with features of l = {self.l_out} and correlations "
                f"{[[c for _, c, _ in part] for part in products]}",
                "one correlation, features of l = 0, 1, ... and scalars at the end",
            )
        size = tensors[products[0][0][2] + "U_matrix_1"].shape[-2]
        self.l_max = math.isqrt(size) - 1
        self.radial_sizes = [len(tensors[name]) for name in self._matrices("interactions.0.conv_tp_weights")][1:]
        norms = [float(self.modules[f"interactions.{t}"].get("avg_num_neighbors", 1.0)) for t in range(self.num_layers)]
        #: The norm every layer is built with; others fold into the weights.
        self.norms, self.norm = norms, max(norms[0], 1.0)
        hidden_size = tensors.shaped(
            f"readouts.{self.num_layers - 1}.linear_1.weight", self.channels, len(self.heads), -1
        ).shape[2]
        options: dict[str, Any] = {
            "num_layers": self.num_layers,
            "num_channels": self.channels,
            "l_max": self.l_max,
            "feature_l_max": len(hidden) - 1,
            "correlation": self.correlation,
            "num_bessel": tensors["radial_embedding.bessel_fn.bessel_weights"].numel(),
            "envelope_power": int(tensors["radial_embedding.cutoff_fn.p"]),
            "radial_hidden": tuple(self.radial_sizes),
            "radial": "mlp",
            "readout_hidden": (hidden_size,),
            "residual_first": self.residual[0],
            "density_normalization": self.has_density,
            "cutoff_on": "basis" if self.root.get("apply_cutoff", True) else "weights",
        }
        if "radial_embedding.distance_transform.q" in tensors:
            options["agnesi"] = tuple(float(tensors[f"radial_embedding.distance_transform.{name}"]) for name in "aqp")
            options["agnesi_radii"] = self._radii("radial_embedding.distance_transform.covalent_radii")
        config = PotentialConfig(
            architecture="mace",
            elements=self.elements,
            cutoff=self.cutoff,
            avg_num_neighbors=self.norm,
            dtype=self.dtype,
            exact_isolated_atoms=False,
            options=resolve_options("mace", None, options),
            **self._repulsion(),
        )
        return build_empty(config, self.where, self.tensors.num_numbers)

    def _radii(self, name: str) -> tuple[float, ...]:
        table = self.tensors[name]
        return tuple(float(table[number]) for number in sorted(self.numbers))

    def _repulsion(self) -> dict[str, Any]:
        """Core repulsion: scaled like the network there, not here."""
        if "pair_repulsion_fn.c" not in self.tensors:
            return {}
        part = {name: self.tensors[f"pair_repulsion_fn.{name}"] for name in ("c", "p", "a_exp", "a_prefactor")}
        radii = self._radii("pair_repulsion_fn.covalent_radii")
        if 2 * max(radii) > self.cutoff:
            raise refuse(
                self.where,
                f"MACE with a core repulsion that reaches beyond the cutoff of {self.cutoff:g} Angstrom",
                "one that ends before it",
            )
        constants = RepulsionConstants(
            exponent=float(part["a_exp"]),
            screening_length=float(part["a_prefactor"]) * _BOHR,
            strength=_STRENGTH * self.scale,
            weights=tuple(float(c) for c in part["c"]),
            decays=_DECAYS,
            envelope_power=int(part["p"]),
        )
        return {"zbl": True, "zbl_constants": constants, "zbl_radii": radii}

    def _contractions(self, t: int) -> list[tuple[int, int, str]]:
        """(l of the result, correlation, prefix of the names) of each contraction of a product."""
        found = []
        for k in itertools.count():
            prefix = f"products.{t}.symmetric_contractions.contractions.{k}."
            if prefix + "U_matrix_1" not in self.tensors:
                break
            coupling = self.tensors[prefix + "U_matrix_1"]
            order = 0 if coupling.dim() == 2 else (coupling.shape[0] - 1) // 2
            found.append((order, max(n for n in range(1, 6) if f"{prefix}U_matrix_{n}" in self.tensors), prefix))
        if not found:
            raise refuse(
                self.where, "MACE with a product basis of another form", "symmetric contractions of e3nn's form"
            )
        return found

    def _matrices(self, prefix: str) -> list[str]:
        names = [f"{prefix}.layer{n}.weight" for n in range(20)]
        return [name for name in names if name in self.tensors]

    def _network(self, prefix: str) -> list[Tensor]:
        """Folded matrices of e3nn's FullyConnectedNet."""
        matrices = [self.tensors[name] for name in self._matrices(prefix)]
        return [matrix / math.sqrt(len(matrix)) for matrix in matrices]

    def _blocks(self, name: str, rows: dict[int, int]) -> dict[tuple[int, int], Tensor]:
        """Matrices (rows, channels) for each l of a linear map, folded."""
        where, flat, found, position = f"{self.where}: {name}", self.tensors[name].flatten(), {}, 0
        if flat.numel() != sum(rows.values()) * self.channels:
            raise CheckpointError(
                f"{where} has {flat.numel()} weights, expected {sum(rows.values()) * self.channels} "
                "for features 0e, 1o, 2e, ...; others are not taken in."
            )
        for l, count in rows.items():
            size = count * self.channels
            found[l, (-1) ** l] = flat[position : position + size].reshape(count, self.channels) / math.sqrt(count)
            position += size
        return found

    def _species_blocks(self, name: str, orders: list[int]) -> dict[tuple[int, int], Tensor]:
        count, channels = len(self.numbers), self.channels
        blocks = self.tensors.shaped(name, len(orders), channels, count, channels) / math.sqrt(channels * count)
        return {(l, (-1) ** l): block.transpose(0, 1)[self.rows] for l, block in zip(orders, blocks)}

    def _layer(self, t: int, layer: torch.nn.Module) -> None:
        prefix, message = f"interactions.{t}", layer.message
        before = [0] if t == 0 else self.l_out[t - 1]
        set_linear(
            message.linear_up,
            self._blocks(f"{prefix}.linear_up.weight", dict.fromkeys(before, self.channels)),
            self.where,
        )
        rows = {block.l: block.channels for block in message.layout_out.blocks}
        set_linear(layer.linear, self._blocks(f"{prefix}.linear.weight", rows), self.where)
        signs = CouplingSigns({}, self.where)
        # Edges run from neighbour to centre there; turning all of them is an inversion, which the energy does not see.
        paths = [
            FilePath((l1, (-1) ** l1), l2, (l3, (-1) ** l3), self.channels, signs(l1, l2, l3))
            for l3 in range(self.l_max + 1)
            for l1 in before
            for l2 in range(self.l_max + 1)
            if abs(l1 - l2) <= l3 <= l1 + l2 and (l1 + l2 + l3) % 2 == 0
        ]
        matrices = self._network(f"{prefix}.conv_tp_weights")
        if not self.has_density:
            matrices[-1] = matrices[-1] * (self.norm / self.norms[t])
        set_radial_network(message, matrices, paths, self.where)
        if self.has_density:
            set_network(message.density_network, self._network(f"{prefix}.density_fn"), self.where)
        after = self.l_out[t]
        orders = [l for l in before if l in after] if self.residual[t] else list(range(self.l_max + 1))
        set_species_linear(layer.skip, self._species_blocks(f"{prefix}.skip_tp.weight", orders), self.where)
        self._product(t, layer.product)
        set_linear(
            layer.linear_out,
            self._blocks(f"products.{t}.linear.weight", dict.fromkeys(after, self.channels)),
            self.where,
        )

    def _product(self, t: int, product: SymmetricProduct) -> None:
        """Weights of another basis of the same space of symmetric couplings, by projection."""
        weights = dict(zip(product.plan.terms, product.weights))
        for l, correlation, prefix in self._contractions(t):
            for order in range(1, correlation + 1):
                name = "weights_max" if order == correlation else f"weights.{correlation - 1 - order}"
                coupling = self.tensors[f"{prefix}U_matrix_{order}"]
                coupling = coupling.unsqueeze(0) if coupling.dim() == order + 1 else coupling
                basis = symmetric_basis(self.l_max, order, l)
                symmetric = sum(
                    coupling.permute(0, *permutation, order + 1)
                    for permutation in itertools.permutations(range(1, order + 1))
                ) / math.factorial(order)
                flat, mine = symmetric.flatten(0, -2), basis.flatten(0, -2)
                if flat.shape[0] != mine.shape[0]:
                    raise CheckpointError(f"{self.where}: {prefix}U_matrix_{order} has an unexpected shape.")
                projection = mine.T @ flat
                if (mine @ projection - flat).abs().max() > 1e-5 * max(float(flat.abs().max()), 1e-3):
                    raise CheckpointError(
                        f"{self.where}: the couplings {prefix}U_matrix_{order} are not those of real "
                        "spherical harmonics as e3nn defines them."
                    )
                values = self.tensors.shaped(prefix + name, len(self.numbers), flat.shape[1], self.channels)
                weights[l, order].copy_(torch.einsum("rp,zpk->zrk", projection, values)[self.rows])

    def _readout(self, t: int) -> list[Tensor]:
        """Matrices for the chosen head; the other heads still count in the normalisation."""
        heads, channels = len(self.heads), self.channels
        if t < self.num_layers - 1:
            return [
                self.tensors.shaped(f"readouts.{t}.linear.weight", channels, heads)[:, [self.place]]
                / math.sqrt(channels)
            ]
        first = self.tensors.shaped(f"readouts.{t}.linear_1.weight", channels, heads, -1)
        hidden = first.shape[2]
        second = self.tensors.shaped(f"readouts.{t}.linear_2.weight", heads, hidden, heads)
        return [
            first[:, self.place] / math.sqrt(channels),
            second[self.place][:, [self.place]] / math.sqrt(heads * hidden),
        ]


def _names_in(value: Any, depth: int = 0) -> set[str]:
    """Last parts of the functions named anywhere in a record."""
    if isinstance(value, Name):
        return {value.name} if value.module.startswith("torch.nn.functional") or value.module == "torch" else set()
    if depth > 12:
        return set()
    if isinstance(value, Record):
        parts = [*value.state.values(), *value.arguments, *value.items]
    elif isinstance(value, dict):
        parts = list(value.values())
    elif isinstance(value, list | tuple):
        parts = list(value)
    else:
        return set()
    return set().union(*(_names_in(part, depth + 1) for part in parts))
