"""NequIP models as ``nequip-deploy`` of version 0.5 and 0.6 writes them: TorchScript files, read as data.

The code in the archive is not looked at; tensors and attributes come from its pickle, settings from the configuration
that is packed with it. What they mean was taken from the equations and held against nequip itself: see
``tests/unit/checkpoint/foreign``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import yaml
from torch import Tensor

from equipot.checkpoint.foreign.folding import (
    MAX_PARTS,
    CouplingSigns,
    FilePath,
    Irreps,
    Tensors,
    coupling_tables,
    set_linear,
    set_radial_network,
    set_species_linear,
    split_linear,
)
from equipot.checkpoint.foreign.imported import (
    MAX_CHANNELS,
    MAX_L,
    Imported,
    build_empty,
    choose_head,
    refuse,
    whole_number,
)
from equipot.checkpoint.foreign.pickle_data import Record, check_written_out
from equipot.checkpoint.foreign.torch_archive import Archive
from equipot.config.yaml_reader import MAX_BYTES
from equipot.elements import atomic_number, sorted_symbols
from equipot.errors import CheckpointError, ElementError
from equipot.kernels.layout import FeatureLayout
from equipot.models import Potential, PotentialConfig, resolve_options

#: Setting -> the value that is taken in, and what it is where the file does not say.
_COVERED: dict[str, Any] = {
    "resnet": False,
    "nonlinearity_type": "gate",
    "use_sc": True,
    "edge_sh_normalization": "component",
}
_CONSTANTS = ("_w3j_", "output_mask", "scale_by", "shift_by")


def read_nequip(archive: Archive, head: str | None, dtype: str) -> Imported:
    """Take in a deployed NequIP model.

    Raises:
        CheckpointError: not such a file, or a model of a kind that is not covered; it says what.
    """
    where = str(archive.path)
    if not archive.is_script or not isinstance(archive.content, Record) or "nequip_version" not in archive.extra:
        raise CheckpointError(
            f"{where}: not a deployed model of NequIP 0.5 or 0.6 (TorchScript, from nequip-deploy); models "
            f"that nequip-compile of version 0.7 and later writes (.nequip.pth) and its .ckpt files are not taken in."
        )
    try:
        if len(archive.extra["config"]) > MAX_BYTES:
            raise CheckpointError(f"{where}: its configuration is larger than {MAX_BYTES // 1000} kB.")
        settings = yaml.safe_load(archive.extra["config"].decode("utf-8"))
        check_written_out(settings, MAX_BYTES)
        extra = {name: value.decode("utf-8").strip() for name, value in archive.extra.items() if len(value) < 10_000}
    except (yaml.YAMLError, ValueError, OverflowError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{where}: its configuration cannot be read ({type(error).__name__}).") from None
    if not isinstance(settings, dict):
        raise CheckpointError(f"{where}: its configuration is not a mapping.")
    choose_head(where, head, (), "head")
    return _Reader(where, archive.content, settings, extra, dtype).read()


def _walk(module: Record, prefix: str, tensors: dict[str, Tensor], modules: dict[str, Record]) -> None:
    if prefix.count(".") > 40 or len(modules) + len(tensors) > MAX_PARTS:
        raise CheckpointError("The modules of the file are nested too deep, or too many.")
    modules[prefix.rstrip(".")] = module
    for name, value in module.state.items():
        if isinstance(value, Tensor):
            tensors[prefix + name] = value
        elif isinstance(value, Record):
            _walk(value, f"{prefix}{name}.", tensors, modules)


class _Reader:
    def __init__(self, where: str, root: Record, settings: dict, extra: dict[str, str], dtype: str) -> None:
        self.where, self.settings, self.extra, self.dtype = where, settings, extra, dtype
        tensors: dict[str, Tensor] = {}
        modules: dict[str, Record] = {}
        _walk(root, "", tensors, modules)
        marker = "chemical_embedding.linear.weight"
        prefix = next((name.removesuffix(marker) for name in tensors if name.endswith(marker)), None)
        if prefix is None:
            raise refuse(where, "a TorchScript model without NequIP's embedding (Allegro?)", "NequIP's energy models")
        self.modules = {name.removeprefix(prefix): module for name, module in modules.items()}
        self.tensors = Tensors({name.removeprefix(prefix): tensor for name, tensor in tensors.items()}, where)
        #: What the outer modules multiply and shift the total energy with.
        outer = [module for name, module in modules.items() if prefix.startswith(name)]
        self.scale_by = math.prod(
            float(module.get("scale_by"))
            for module in outer
            if isinstance(module.get("scale_by"), Tensor) and module.get("scale_by").numel()
        )
        if any(isinstance(module.get("shift_by"), Tensor) and bool(module.get("shift_by").any()) for module in outer):
            raise refuse(where, "NequIP with a shift of total energies", "shifts by species")
        self._check_settings()
        self.symbols = extra.get("type_names", "").split()
        try:
            self.numbers = [atomic_number(name) for name in self.symbols]
        except ElementError:
            raise refuse(where, f"NequIP with the types {', '.join(self.symbols)}", "types named by elements") from None
        self.rows = torch.tensor(sorted(range(len(self.numbers)), key=self.numbers.__getitem__))
        self.flipped: set[tuple[int, int, int]] = set()

    def _check_settings(self) -> None:
        for name, value in _COVERED.items():
            found = self._setting(name, value)
            if found != value:
                raise refuse(self.where, f"NequIP with {name}: {found}", f"{name}: {value}")
        scalars = self.settings.get("nonlinearity_scalars", {"e": "silu", "o": "tanh"})
        gates = self.settings.get("nonlinearity_gates", {"e": "silu", "o": "tanh"})
        if scalars.get("e") != "silu" or scalars.get("o", "tanh") != "tanh" or gates.get("e") != "silu":
            raise refuse(self.where, f"NequIP with the nonlinearities {scalars} and {gates}", "silu, tanh; gates silu")

    def _setting(self, name: str, default: Any) -> Any:
        """A setting; NequIP takes it also with the name of what it is for in front."""
        keys = [key for key in self.settings if isinstance(key, str) and (key == name or key.endswith(f"_{name}"))]
        # The longest is the most specific, and the one that NequIP obeys.
        return self.settings[max(keys, key=len)] if keys else default

    def _irreps(self, text: str) -> Irreps:
        return [(block.channels, block.irrep) for block in FeatureLayout.from_irreps(text).blocks]

    def read(self) -> Imported:
        potential = self._build()
        network, num_elements = potential.architecture, len(self.numbers)
        with torch.no_grad():
            network.radial.basis.wave_numbers.copy_(self.tensors["radial_basis.basis.bessel_weights"])
            embedding = self.tensors.shaped(
                "chemical_embedding.linear.weight", num_elements, network.embedding.shape[1]
            )
            network.embedding.copy_(embedding[self.rows] / math.sqrt(num_elements))
            before: Irreps = [(network.embedding.shape[1], (0, 1))]
            for t, layer in enumerate(network.layers):
                before = self._layer(t, layer, before)
            first = self.tensors.shaped("conv_to_output_hidden.linear.weight", before[0][0], -1)
            second = self.tensors.shaped("output_hidden_to_scalar.linear.weight", first.shape[1], 1)
            network.readout.weights[0].copy_(first @ second / math.sqrt(len(first) * len(second)))
            potential.scale.copy_(self.scale_by * self._by_species("scales", 1.0))
            potential.atomic_energies.copy_(self.scale_by * self._by_species("shifts", 0.0))
        self.tensors.refuse_left_over(lambda name: any(part in name for part in _CONSTANTS))
        return Imported(
            potential,
            None,
            (),
            "the per-species shifts of the file: not of isolated atoms unless it was trained so",
            {"nequip_version": self.extra.get("nequip_version"), "flipped_couplings": sorted(self.flipped)},
        )

    def _by_species(self, name: str, default: float) -> Tensor:
        key = f"per_species_rescale.{name}"
        if key not in self.tensors or not self.tensors[key].numel():
            return torch.full((len(self.rows),), default, dtype=torch.float64)
        values = self.tensors[key].flatten()
        return values[self.rows] if len(values) > 1 else values.expand(len(self.rows))

    def _build(self) -> Potential:
        settings = self.settings
        sphere = self._irreps(settings.get("irreps_edge_sh") or self._default_sphere())
        self.l_max = len(sphere) - 1
        has_parity = self.l_max == 0 or sphere[1][1] == (1, -1)
        hidden = self._irreps(settings.get("feature_irreps_hidden") or self._default_hidden())
        irreps = {irrep: channels for channels, irrep in hidden}
        feature_l_max = max(l for l, _ in irreps)
        kinds = {
            "natural": [(l, (-1) ** l) for l in range(feature_l_max + 1)],
            "both": [(l, p) for p in (1, -1) for l in range(feature_l_max + 1)],
            "none": [(l, 1) for l in range(feature_l_max + 1)],
        }
        parity = next(
            (name for name in (("natural", "both") if has_parity else ("none",)) if set(kinds[name]) == set(irreps)),
            None,
        )
        channels = [irreps.get((l, 1), irreps.get((l, -1))) for l in range(feature_l_max + 1)]
        if (
            parity is None
            or len(irreps) != len(hidden)
            or any(irreps[l, p] != channels[l] for l, p in irreps)
            or [irrep for _, irrep in sphere] != [(l, (-1) ** l if has_parity else 1) for l in range(self.l_max + 1)]
        ):
            raise refuse(
                self.where,
                f"NequIP with the features {settings.get('feature_irreps_hidden')}",
                "every l with one number of channels, of natural, both or no parities",
            )
        embedding = settings.get("chemical_embedding_irreps_out")
        if embedding and sum(channels for channels, _ in self._irreps(embedding)) != irreps.get((0, 1)):
            raise refuse(
                self.where,
                f"NequIP with chemical_embedding_irreps_out: {embedding}",
                f"as many channels as features: {irreps.get((0, 1))}x0e",
            )
        self.hidden = hidden
        self.cutoff = float(self.extra.get("r_max") or settings["r_max"])
        norm = self.modules["layer0_convnet.conv"].get("avg_num_neighbors")
        #: Where messages are only summed the norm is 1.
        self.average = 1.0 if norm is None else float(norm)
        layers = sum(1 for name in self.tensors.names("layer") if name.endswith("_convnet.conv.linear_1.weight"))
        sizes = [
            len(self.tensors[f"layer0_convnet.conv.fc.layer{n}.weight"])
            for n in range(
                1, len([name for name in self.tensors.names("layer0_convnet.conv.fc.") if name.endswith(".weight")])
            )
        ]
        options = {
            "num_layers": layers,
            "num_channels": tuple(channels),
            "l_max": self.l_max,
            "feature_l_max": feature_l_max,
            "parity": parity,
            "num_bessel": self.tensors["radial_basis.basis.bessel_weights"].numel(),
            "trainable_bessel": bool(settings.get("BesselBasis_trainable", True)),
            "envelope_power": int(settings.get("PolynomialCutoff_p", 6)),
            "radial_hidden": tuple(sizes),
            "radial": "mlp",
            "readout_hidden": (),
            "solid_harmonics": not self._setting("edge_sh_normalize", True),
        }
        config = PotentialConfig(
            architecture="nequip",
            elements=sorted_symbols(self.symbols),
            cutoff=self.cutoff,
            avg_num_neighbors=max(self.average, 1.0),
            dtype=self.dtype,
            exact_isolated_atoms=False,
            options=resolve_options("nequip", None, options),
        )
        return build_empty(config, self.where, self.tensors.num_numbers)

    def _default_sphere(self) -> str:
        sign = ("e", "o") if self.settings.get("parity", True) else ("e", "e")
        l_max = whole_number(self.where, self.settings, "l_max", MAX_L)
        return "+".join(f"1x{l}{sign[l % 2]}" for l in range(l_max + 1))

    def _default_hidden(self) -> str:
        parities = ("e", "o") if self.settings.get("parity", True) else ("e",)
        l_max, channels = (
            whole_number(self.where, self.settings, name, most)
            for name, most in (("l_max", MAX_L), ("num_features", MAX_CHANNELS))
        )
        return "+".join(f"{channels}x{l}{p}" for p in parities for l in range(l_max + 1))

    def _layer(self, t: int, layer: torch.nn.Module, before: Irreps) -> Irreps:
        """Copies a layer's weights; returns the irreps after the file's own layer, in its order."""
        prefix = f"layer{t}_convnet.conv"
        reached = {
            (l3, p1 * self._sphere_parity(l2))
            for _, (l1, p1) in before
            for l2 in range(self.l_max + 1)
            for l3 in range(abs(l1 - l2), l1 + l2 + 1)
        }
        scalars = [part for part in self.hidden if part[1][0] == 0 and part[1] in reached]
        gated = [part for part in self.hidden if part[1][0] > 0 and part[1] in reached]
        num_scalars = next(channels for channels, irrep in scalars if irrep == (0, 1))
        pre = [
            (num_scalars + sum(channels for channels, _ in gated), (0, 1)),
            *[part for part in scalars if part[1] != (0, 1)],
            *gated,
        ]
        pre.sort(key=lambda part: _order(part[1]))
        paths = [
            FilePath((l1, p1), l2, (l3, p1 * self._sphere_parity(l2)), channels)
            for channels, (l1, p1) in before
            for l2 in range(self.l_max + 1)
            for l3 in range(abs(l1 - l2), l1 + l2 + 1)
            if (l3, p1 * self._sphere_parity(l2)) in {irrep for _, irrep in pre}
        ]
        middle: dict[tuple[int, int], int] = {}
        for path in sorted(paths, key=lambda path: _order(path.result)):
            middle[path.result] = middle.get(path.result, 0) + path.channels
        self._radial(t, layer, paths)
        where = f"{self.where}: {prefix}"
        set_linear(layer.message.linear_up, self._matrices(f"{prefix}.linear_1.weight", before, before), where)
        columns = self._gate_columns(layer, num_scalars, gated)
        after = self._matrices(f"{prefix}.linear_2.weight", [(n, irrep) for irrep, n in middle.items()], pre)
        # Channels of the message stand in the file by path; ours have the paths in the order of our features.
        for irrep, rows in self._message_rows(layer, paths).items():
            if irrep in after:
                after[irrep] = after[irrep][rows]
        after[0, 1] = after[0, 1][:, columns]
        set_linear(layer.linear, after, where)
        skip = self._species_matrices(f"{prefix}.sc.weight", before, pre)
        skip[0, 1] = skip[0, 1][:, :, columns]
        set_species_linear(layer.self_connection, skip, where)
        return [*scalars, *gated]

    def _radial(self, t: int, layer: torch.nn.Module, paths: list[FilePath]) -> None:
        prefix = f"layer{t}_convnet.conv"
        signs = CouplingSigns(coupling_tables(self.tensors, f"{prefix}.tp."), self.where)
        signed = [
            FilePath(path.source, path.l2, path.result, path.channels, signs(path.source[0], path.l2, path.result[0]))
            for path in paths
        ]
        self.flipped |= signs.flipped
        count = len([name for name in self.tensors.names(f"{prefix}.fc.") if name.endswith(".weight")])
        matrices = [self.tensors[f"{prefix}.fc.layer{n}.weight"] for n in range(count)]
        matrices = [matrix / math.sqrt(len(matrix)) for matrix in matrices]
        # The Bessel functions have the prefactor 2 / cutoff there, sqrt(2 / cutoff) here.
        matrices[0] = matrices[0] * math.sqrt(2 / self.cutoff)
        matrices[-1] = matrices[-1] * math.sqrt(max(self.average, 1.0) / self.average)
        wanted = {(block.l, block.p) for block in layer.message.layout_out.blocks}
        if wanted != {path.result for path in paths}:
            # The last layer makes scalars only: columns of other results are left out.
            kept, position, columns = [], 0, []
            for path in signed:
                if path.result in wanted:
                    kept.append(path)
                    columns += range(position, position + path.channels)
                position += path.channels
            matrices[-1], signed = matrices[-1][:, columns], kept
        set_radial_network(layer.message, matrices, signed, self.where)

    def _message_rows(self, layer: torch.nn.Module, paths: list[FilePath]) -> dict[tuple[int, int], list[int]]:
        """For each result of a message, where our channels lie among the file's."""
        plan, starts, ends = layer.message.convolution.plan, {}, {}
        for path in paths:
            starts[path.source, path.l2, path.result] = ends.get(path.result, 0)
            ends[path.result] = ends.get(path.result, 0) + path.channels
        rows: dict[tuple[int, int], list[int]] = {}
        for path, channels in zip(plan.paths, plan.path_channels):
            result = plan.output.blocks[path.output].irrep
            start = starts[plan.input.blocks[path.input].irrep, path.l2, result]
            rows.setdefault(result, []).extend(range(start, start + channels))
        return rows

    def _gate_columns(self, layer: torch.nn.Module, num_scalars: int, gated: Irreps) -> list[int]:
        """Columns of the file's even scalars in our order: the scalars, then the gates of our blocks."""
        starts, position = {}, num_scalars
        for channels, irrep in gated:
            starts[irrep] = range(position, position + channels)
            position += channels
        columns = list(range(num_scalars))
        for block in layer.layout_out.blocks:
            columns += starts[block.irrep] if block.l > 0 else ()
        return columns

    def _matrices(self, name: str, irreps_in: Irreps, irreps_out: Irreps) -> dict[tuple[int, int], Tensor]:
        parts = split_linear(self.tensors[name], irreps_in, irreps_out, f"{self.where}: {name}")
        return {irreps_out[k][1]: matrix for (_, k), matrix in parts.items()}

    def _species_matrices(self, name: str, irreps_in: Irreps, irreps_out: Irreps) -> dict[tuple[int, int], Tensor]:
        """(num_species, in, out) of a fully connected product with the one-hot species, weights (in, species, out)."""
        flat, count, position, found = self.tensors[name].flatten(), len(self.numbers), 0, {}
        for n_in, irrep in irreps_in:
            for n_out, other in irreps_out:
                if irrep == other:
                    size = n_in * count * n_out
                    part = flat[position : position + size]
                    if len(part) < size:
                        raise CheckpointError(f"{self.where}: {name} has too few weights.")
                    matrix = part.reshape(n_in, count, n_out).transpose(0, 1)[self.rows]
                    found[irrep] = matrix / math.sqrt(n_in * count)
                    position += size
        if position != len(flat):
            raise CheckpointError(f"{self.where}: {name} has {len(flat)} weights, expected {position}.")
        return found

    def _sphere_parity(self, l: int) -> int:
        sphere = self.settings.get("irreps_edge_sh") or self._default_sphere()
        return dict(irrep for _, irrep in self._irreps(sphere))[l]


def _order(irrep: tuple[int, int]) -> tuple[int, int]:
    """How e3nn sorts irreps: by l, odd before even."""
    return irrep
