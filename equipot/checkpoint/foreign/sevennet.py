"""SevenNet checkpoints: their forward pass is that of ``nequip`` with parity none, a shared self-connection and more.

The checkpoint is a dictionary of the model's tensors and its settings (``sevenn`` 0.9 and later). What they mean was
taken from the equations and held against ``sevenn`` itself: see ``tests/unit/checkpoint/foreign``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from equipot.checkpoint.foreign.folding import (
    CouplingSigns,
    FilePath,
    Irreps,
    Tensors,
    coupling_tables,
    set_linear,
    set_radial_network,
    split_linear,
)
from equipot.checkpoint.foreign.imported import (
    MAX_BESSEL,
    MAX_CHANNELS,
    MAX_L,
    MAX_LAYERS,
    Imported,
    build_empty,
    choose_head,
    refuse,
    whole_number,
)
from equipot.checkpoint.foreign.torch_archive import Archive, plain
from equipot.elements import sorted_symbols, symbol
from equipot.errors import CheckpointError
from equipot.kernels.layout import FeatureLayout
from equipot.models import Potential, PotentialConfig, resolve_options

#: Beginnings of module names in files of early 2024.
_OLD_NAMES = {
    "EdgeEmbedding": "edge_embedding",
    "reducing nn input to hidden": "reduce_input_to_hidden",
    "reducing nn hidden to energy": "reduce_hidden_to_energy",
    "rescale atomic energy": "rescale_atomic_energy",
}
#: Setting -> the values that are taken in. A setting a file lacks has the first.
_COVERED: dict[str, tuple[Any, ...]] = {
    "is_parity": (False,),
    "self_connection_type": ("linear",),
    "use_bias_in_linear": (False,),
    "readout_as_fcn": (False,),
    "act_radial": ("silu",),
    "interaction_type": ("nequip",),
    "_model_type": ("E3_equivariant_model",),
}


def read_sevennet(archive: Archive, head: str | None, dtype: str) -> Imported:
    """Take in a SevenNet checkpoint.

    Args:
        archive: of the file.
        head: modality of a multi-fidelity model.
        dtype: of the network to be.

    Raises:
        CheckpointError: not such a checkpoint, or one of a kind that is not covered; it says what.
    """
    where, content = str(archive.path), archive.content
    if not isinstance(content, dict) or not {"model_state_dict", "config"} <= set(content):
        raise CheckpointError(f"{where}: not a checkpoint of SevenNet (no model_state_dict and config in it).")
    return _Reader(where, plain(content["config"]), content["model_state_dict"], head, dtype).read()


class _Reader:
    def __init__(self, where: str, settings: dict, state: Mapping[str, Tensor], head: str | None, dtype: str) -> None:
        self.where, self.settings, self.dtype = where, settings, dtype
        self.tensors = Tensors(
            {_present_name(name): tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}, where
        )
        self._check_settings()
        self.modalities = dict(settings["_modal_map"]) if settings.get("use_modality") else {}
        self.head = choose_head(where, head, sorted(self.modalities, key=self.modalities.get), "modality")
        self.version = tuple(int(part) for part in str(settings.get("version", "0.9")).split(".")[:2])
        self.numbers = sorted(settings["_type_map"], key=settings["_type_map"].get)
        #: Row of the file's tables for each of equipot's species.
        self.rows = torch.tensor([settings["_type_map"][number] for number in sorted(self.numbers)])
        self.irreps = self._irreps()

    def _check_settings(self) -> None:
        cueq = self.settings.get("cuequivariance_config")
        for name, found in {
            "FlashTP (use_flash_tp)": self.settings.get("use_flash_tp"),
            "OpenEquivariance (use_oeq)": self.settings.get("use_oeq"),
            "cuEquivariance": cueq.get("use") if isinstance(cueq, Mapping) else cueq,
        }.items():
            if found:
                raise refuse(
                    self.where,
                    f"SevenNet trained with {name}",
                    "checkpoints in e3nn's form: build the model in sevenn without that accelerator and save it again",
                )
        for name, values in _COVERED.items():
            found = self.settings.get(name, values[0])
            if isinstance(found, list) and found and all(part == found[0] for part in found):
                found = found[0]  # one for each layer
            if found not in values:
                raise refuse(self.where, f"SevenNet with {name}: {found}", f"{name}: {values[0]}")
        basis = self.settings.get("radial_basis", {}).get("radial_basis_name")
        if basis != "bessel":
            raise refuse(self.where, f"SevenNet with the radial basis {basis}", "bessel")
        for name in ("act_scalar", "act_gate"):
            if self.settings[name].get("e") != "silu":
                raise refuse(self.where, f"SevenNet with {name} {str(self.settings[name].get('e'))[:60]}", "silu")
        if "_type_map" not in self.settings or "cutoff" not in self.settings:
            raise CheckpointError(f"{self.where}: its settings have no elements or no cutoff.")

    def _irreps(self) -> list[Irreps]:
        """Of the features before and after each layer."""
        num_layers = whole_number(self.where, self.settings, "num_convolution_layer", MAX_LAYERS)
        channel = whole_number(self.where, self.settings, "channel", MAX_CHANNELS)
        texts = self.settings.get("irreps_manual")
        if not texts:
            l_max = self._l_max("node")
            if self._l_max("edge") < l_max and num_layers > 1:
                raise refuse(
                    self.where,
                    f"SevenNet with harmonics up to l = {self._l_max('edge')} and features up to l = {l_max}",
                    "harmonics at least as high as the features",
                )
            hidden = "+".join(f"{channel}x{l}e" for l in range(l_max + 1))
            texts = [f"{channel}x0e", *[hidden] * (num_layers - 1), f"{channel}x0e"]
        layouts = [FeatureLayout.from_irreps(text) for text in texts]
        irreps = [[(block.channels, block.irrep) for block in layout.blocks] for layout in layouts]
        hidden = irreps[1] if num_layers > 1 else irreps[0]
        is_regular = (
            len(irreps) == num_layers + 1
            and all(part == hidden for part in irreps[1:-1])
            and irreps[0] == irreps[-1] == hidden[:1]
            and [irrep for _, irrep in hidden] == [(l, 1) for l in range(len(hidden))]
        )
        if not is_regular:
            raise refuse(
                self.where,
                f"SevenNet with the irreps {', '.join(map(str, texts))}",
                "the same irreps 0e, 1e, ... after every layer, scalars first and last",
            )
        return irreps

    def _l_max(self, what: str) -> int:
        """Highest order of the features of a ``node`` or the harmonics of an ``edge``."""
        is_own = self.settings.get(f"lmax_{what}", -1) != -1
        return whole_number(self.where, self.settings, f"lmax_{what}" if is_own else "lmax", MAX_L)

    # --- the model

    def read(self) -> Imported:
        potential = self._build()
        architecture = potential.architecture
        with torch.no_grad():
            architecture.radial.basis.wave_numbers.copy_(self._wave_numbers() * potential.cutoff)
            architecture.embedding.copy_(self._embedding())
            for t, layer in enumerate(architecture.layers):
                self._layer(t, layer)
            vector, constant = self._readout()
            architecture.readout.weights[0].copy_(vector)
            scale, shift = (self._by_modality(f"rescale_atomic_energy.{name}") for name in ("scale", "shift"))
            potential.scale.copy_(scale)
            potential.atomic_energies.copy_(shift + scale * constant)
        self.tensors.refuse_left_over(lambda name: name.endswith("output_mask") or "._w3j_" in name)
        return Imported(
            potential,
            self.head,
            tuple(sorted(self.modalities, key=self.modalities.get)),
            "the shifts of the checkpoint, one an element: fitted to total energies, not isolated atoms",
            {"sevenn_version": self.settings.get("version"), "flipped_couplings": sorted(self.flipped)},
        )

    def _build(self) -> Potential:
        settings, hidden = self.settings, self.irreps[1]
        cutoff = float(settings["cutoff"])
        l_max = self._l_max("edge")
        envelope = settings["cutoff_function"]
        kind = envelope["cutoff_function_name"]
        if kind not in ("XPLOR", "poly_cut"):
            raise refuse(self.where, f"SevenNet with the cutoff function {kind}", "XPLOR or poly_cut")
        denominator = float(self.tensors["0_convolution.denominator"])
        #: The norm every layer is built with; other denominators fold into the weights.
        self.norm = max(denominator, 1.0)
        options = {
            "num_layers": settings["num_convolution_layer"],
            "num_channels": tuple(channels for channels, _ in hidden),
            "l_max": l_max,
            "feature_l_max": len(hidden) - 1,
            "parity": "none",
            "num_bessel": len(self._wave_numbers()),
            "trainable_bessel": self._has_trained_basis,
            "radial_hidden": tuple(settings["weight_nn_hidden_neurons"]),
            "radial": "mlp",
            "self_connection": "shared",
            "solid_harmonics": not settings.get("_normalize_sph", self.version > (0, 9)),
            "scalar_bias": bool(self.modalities),
            "readout_hidden": (),
        }
        if kind == "XPLOR":
            options["xplor_onset"] = float(envelope["cutoff_on"])
        else:
            options["envelope_power"] = int(envelope.get("poly_cut_p_value", 6))
        config = PotentialConfig(
            architecture="nequip",
            elements=sorted_symbols([symbol(number) for number in self.numbers]),
            cutoff=cutoff,
            avg_num_neighbors=self.norm**2,
            dtype=self.dtype,
            exact_isolated_atoms=False,
            options=resolve_options("nequip", None, options),
        )
        return build_empty(config, self.where, self.tensors.num_numbers)

    @property
    def _has_trained_basis(self) -> bool:
        return bool(self.settings["radial_basis"].get("trainable_coeff", True))

    def _wave_numbers(self) -> Tensor:
        """(num_bessel,) 1/Angstrom; where they were not trained the file does not have them."""
        if self._has_trained_basis:
            return self.tensors.shaped("edge_embedding.basis_function.coeffs", -1)
        settings = {"bessel_basis_num": 8, **self.settings["radial_basis"]}
        count = whole_number(self.where, settings, "bessel_basis_num", MAX_BESSEL)
        # In single precision, as sevenn has them.
        return torch.tensor(
            [n * math.pi / float(self.settings["cutoff"]) for n in range(1, count + 1)], dtype=torch.float32
        ).double()

    def _embedding(self) -> Tensor:
        num_elements, channels = len(self.numbers), self.irreps[0][0][0]
        extra = self._num_modal("use_modal_node_embedding")
        table = self.tensors.shaped("onehot_to_feature_x.linear.weight", num_elements + extra, channels)
        table = table / math.sqrt(num_elements + extra)
        rows = table[:num_elements][self.rows]
        return rows + table[num_elements + self.modalities[self.head]] if extra else rows

    def _layer(self, t: int, layer: torch.nn.Module) -> None:
        before = self.irreps[t]
        gated = [(block.channels, block.irrep) for block in layer.gate.layout_in.blocks]
        message = [(block.channels, block.irrep) for block in layer.message.layout_out.blocks]
        self._linear(layer.self_connection, f"{t}_self_connection_intro", before, gated, 0)
        self._linear(
            layer.message.linear_up,
            f"{t}_self_interaction_1",
            before,
            before,
            self._num_modal("use_modal_self_inter_intro"),
        )
        self._linear(
            layer.linear, f"{t}_self_interaction_2", message, gated, self._num_modal("use_modal_self_inter_outro")
        )
        prefix = f"{t}_convolution"
        signs = CouplingSigns(coupling_tables(self.tensors, prefix), self.where)
        plan = layer.message.convolution.plan
        paths = []
        for channels, source in before:
            for l2 in range(plan.l_max + 1):
                for l3 in range(abs(source[0] - l2), source[0] + l2 + 1):
                    if plan.output.index(l3, 1) is not None:
                        paths.append(FilePath(source, l2, (l3, 1), channels, signs(source[0], l2, l3)))
        if self.version >= (0, 11):
            # Columns of newer files are sorted by the result, stable.
            paths.sort(key=lambda path: path.result[0])
        sizes = len(self.settings["weight_nn_hidden_neurons"]) + 1
        matrices = [self.tensors[f"{prefix}.weight_nn.layer{n}.weight"] for n in range(sizes)]
        matrices = [matrix / math.sqrt(len(matrix)) for matrix in matrices]
        # The Bessel functions have the prefactor 2 / cutoff there, sqrt(2 / cutoff) here.
        matrices[0] = matrices[0] * math.sqrt(2 / float(self.settings["cutoff"]))
        matrices[-1] = matrices[-1] * (self.norm / float(self.tensors[f"{prefix}.denominator"]))
        set_radial_network(layer.message, matrices, paths, self.where)
        self.flipped = getattr(self, "flipped", set()) | signs.flipped

    def _linear(
        self, linear: torch.nn.Module, name: str, irreps_in: Irreps, irreps_out: Irreps, num_modal: int
    ) -> None:
        """A linear map; the one-hot modality is a block of scalars behind all others, and becomes a bias."""
        blocks = [*irreps_in, (num_modal, (0, 1))] if num_modal else list(irreps_in)
        parts = split_linear(self.tensors[f"{name}.linear.weight"], blocks, irreps_out, f"{self.where}: {name}")
        matrices = {irreps_out[k][1]: matrix for (i, k), matrix in parts.items() if i < len(irreps_in)}
        set_linear(linear, matrices, f"{self.where}: {name}")
        if num_modal:
            linear.bias.copy_(parts[len(irreps_in), 0][self.modalities[self.head]])

    def _readout(self) -> tuple[Tensor, float]:
        """Two linear maps with nothing between them are one; its constant."""
        channels = self.irreps[-1][0][0]
        num_modal = self._num_modal("use_modal_output_block")
        first = self.tensors.shaped("reduce_input_to_hidden.linear.weight", channels + num_modal, -1)
        first = first / math.sqrt(channels + num_modal)
        second = self.tensors.shaped("reduce_hidden_to_energy.linear.weight", first.shape[1], 1)
        second = second / math.sqrt(len(second))
        constant = float(first[channels + self.modalities[self.head]] @ second) if num_modal else 0.0
        return first[:channels] @ second, constant

    def _by_modality(self, name: str) -> Tensor:
        """(num_elements,) of the chosen modality."""
        values = self.tensors[name]
        if values.dim() == 2:
            values = values[self.modalities[self.head]]
        if values.numel() == 1:
            return values.flatten().expand(len(self.rows))
        return values.flatten()[self.rows]

    def _num_modal(self, setting: str) -> int:
        return len(self.modalities) if self.settings.get(setting) else 0


def _present_name(name: str) -> str:
    head, dot, tail = name.partition(".")
    return _OLD_NAMES.get(head, head.replace(" ", "_")) + dot + tail.replace("denumerator", "denominator")
