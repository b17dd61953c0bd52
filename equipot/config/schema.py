"""The configuration of a training job: one frozen dataclass a section, every key with its meaning and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ase.formula import Formula

from equipot.config.finetune import FinetuneConfig
from equipot.config.limits import (
    ELEMENTS,
    Count,
    Element,
    Expression,
    Fraction,
    FractionBelowOne,
    Identifier,
    Limit,
    NonNegative,
    NotEmpty,
    OpenFraction,
    PlainName,
    Positive,
    PositiveInt,
    Seed,
)
from equipot.config.position import FieldError
from equipot.config.section import Section

PerElement = Mapping[Element, float]
ReferenceValues = Mapping[Literal["lattice_constant", "bulk_modulus", "C11", "C12", "C44"], float]


@dataclass(frozen=True)
class KeysConfig(Section):
    """Where the labels are. ``auto`` searches the documented list; ``null`` ignores the label; a name is that key."""

    energy: NotEmpty | None = "auto"
    forces: NotEmpty | None = "auto"
    stress: NotEmpty | None = "auto"
    virial: NotEmpty | None = "auto"


@dataclass(frozen=True)
class UnitsConfig(Section):
    """Units and the stress sign of the labels in the files (positions are in Angstrom)."""

    energy: Literal["eV", "meV", "Ha", "Ry", "kcal/mol", "kJ/mol"] = "eV"
    forces: Literal["eV/A", "meV/A", "Ha/Bohr", "Ry/Bohr", "kcal/mol/A"] = "eV/A"
    stress: Literal["eV/A^3", "GPa", "kbar", "bar"] = "eV/A^3"
    #: ``tension_positive`` is ASE's; ``compression_positive`` is VASP's and LAMMPS' pressure; ``proven`` takes the
    #: sign from dE/dV of the frames and stops where they cannot prove it.
    stress_sign: Literal["tension_positive", "compression_positive", "proven"] = "tension_positive"


@dataclass(frozen=True)
class SplitConfig(Section):
    """How frames of ``data.train`` are set aside where no validation or test files are given."""

    method: Literal["fraction", "group"] = "fraction"
    validation: FractionBelowOne = 0.1
    test: FractionBelowOne = 0.1
    #: ``fraction`` draws within each config_type; ``group`` keeps frames with the same value of this key together.
    group_key: NotEmpty | None = None
    seed: Seed = 0

    def check(self) -> None:
        if self.validation + self.test >= 1:
            raise FieldError(
                "validation",
                f"plus test is {self.validation + self.test:g} of the frames, expected "
                "less than 1 so that frames remain to train on.",
            )
        if self.method == "group" and self.group_key is None:
            raise FieldError(
                "group_key",
                "is not given, expected the key whose value tells the groups apart (method: group needs it).",
            )

    def ineffective(self) -> dict[str, str]:
        return {} if self.method == "group" else {"group_key": "only method: group uses it"}


@dataclass(frozen=True)
class DataConfig(Section):
    """Which frames, which labels in them, and how they are weighted and split."""

    #: Folder the file names are relative to; default: the variable EQUIPOT_DATA, else the configuration's folder.
    root: NotEmpty | None = None
    #: Files, patterns (``runs/*/vasprun.xml``, ``**`` for all folders below) or folders (the files in them).
    train: tuple[NotEmpty, ...] = ()
    validation: tuple[NotEmpty, ...] = ()
    test: tuple[NotEmpty, ...] = ()
    #: Frames made on the spot instead of files: ``cu_au_emt``.
    generate: Literal["cu_au_emt"] | None = None
    #: Where a reader can get the files (printed when they are absent).
    source: str | None = None
    keys: KeysConfig = field(default_factory=KeysConfig)
    units: UnitsConfig = field(default_factory=UnitsConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    #: What to do with a frame whose label or geometry is not finite: stop, or leave it out and say so.
    on_bad: Literal["error", "skip"] = "error"
    #: ``auto``: isolated-atom frames where there are any, else least squares; or a mapping element -> eV.
    atomic_energies: Literal["auto", "isolated", "least_squares"] | PerElement = "auto"
    #: Element symbols the potential shall know; ``auto``: those in the training frames.
    elements: Literal["auto"] | tuple[Element, ...] = "auto"
    #: config_type -> factor on all three loss terms of its frames (times the frame's own config_weight).
    config_weights: Mapping[str, NonNegative] = field(default_factory=dict)
    #: Two atoms closer than this (Angstrom) are an error.
    min_distance: NonNegative = 0.05

    def check(self) -> None:
        files = [name for name in ("train", "validation", "test") if getattr(self, name)]
        if self.generate is not None and files:
            raise FieldError(
                files[0],
                f"is given together with data.generate: {self.generate}; frames come either "
                "from files or are made, so remove one of the two.",
            )
        if self.generate is None and files and not self.train:
            raise FieldError(files[0], "is given without data.train, expected training files too.")
        for name in files:
            seen = set()
            for file in getattr(self, name):
                if file in seen:
                    raise FieldError(name, f"lists {file!r} twice, expected each file once.")
                seen.add(file)
        if self.elements != "auto":
            if not self.elements:
                raise FieldError("elements", "is an empty list, expected element symbols or 'auto'.")
            if len(set(self.elements)) < len(self.elements):
                raise FieldError("elements", "names an element twice, expected each once.")

    def ineffective(self) -> dict[str, str]:
        reasons = {}
        if self.generate is not None:
            for name in ("root", "source", "units.energy", "units.forces", "units.stress", "units.stress_sign"):
                reasons[name] = "data.generate makes the frames, no file is read"
        for name in ("validation", "test"):
            if getattr(self, name):
                reasons[f"split.{name}"] = f"data.{name} names the files"
        if self.validation and self.test:
            for name in ("method", "group_key", "seed"):
                reasons[f"split.{name}"] = "data.validation and data.test name the files, nothing is split"
        return reasons


@dataclass(frozen=True)
class ModelConfig(Section):
    """The potential. Keys not listed here belong to the architecture and are checked by it."""

    #: Field that takes the keys which are not listed here (see ``build``).
    extra_keys = "options"

    architecture: Identifier = "mace"
    preset: Literal["small", "medium", "large"] | None = "small"
    #: Angstrom.
    cutoff: Annotated[float, Limit(above=0, at_most=50)] = 5.0
    dtype: Literal["float32", "float64"] = "float32"
    #: Ziegler-Biersack-Littmark core repulsion between close atoms.
    zbl: bool = False
    #: Mean number of neighbours that normalises message sums; ``auto``: that of the training frames.
    avg_num_neighbors: Literal["auto"] | Positive = "auto"
    #: eV: factor on the network's output; ``auto``: root mean square force of the training frames times 1 Angstrom.
    scale: Literal["auto"] | Positive | Mapping[Element, Positive] = "auto"
    #: eV/atom added to bound atoms, switched off smoothly where an atom has no neighbours; ``auto``: mean of what the
    #: atomic energies leave.
    shift: Literal["auto"] | float | PerElement = "auto"
    #: Whether the per-element scale and shift are trained.
    trainable_scale_shift: bool = False
    #: An atom without neighbours has exactly its atomic energy.
    exact_isolated_atoms: bool = True
    #: The architecture's own keys (l_max, num_channels, num_layers, ...), validated by the registry.
    options: Mapping[NotEmpty, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageTwoConfig(Section):
    """Loss weights and learning rate for the last part of a run."""

    #: Fraction of all epochs after which stage two begins.
    start: OpenFraction = 0.75
    energy_weight: NonNegative = 10.0
    forces_weight: NonNegative = 1.0
    stress_weight: NonNegative = 0.3
    #: Factor on the learning rate.
    learning_rate_factor: Positive = 1.0

    def check(self) -> None:
        _check_loss_weights(self)


@dataclass(frozen=True)
class LossConfig(Section):
    """Errors of energy per atom (eV), forces (eV/Angstrom) and virial per atom (eV), each over the force rms."""

    energy: Literal["mse", "mae", "huber"] = "huber"
    #: ``norm`` is the length of each atom's force error vector, smoothed at ``delta``.
    forces: Literal["mse", "mae", "huber", "norm"] = "norm"
    stress: Literal["mse", "mae", "huber"] = "huber"
    energy_weight: NonNegative = 2.0
    forces_weight: NonNegative = 1.0
    stress_weight: NonNegative = 0.3
    #: Where huber and norm turn from quadratic to linear, in units of the force rms.
    delta: Positive = 0.05
    stage_two: StageTwoConfig | None = None

    def check(self) -> None:
        _check_loss_weights(self)

    def ineffective(self) -> dict[str, str]:
        if {self.energy, self.forces, self.stress} & {"huber", "norm"}:
            return {}
        return {"delta": "only the forms huber and norm use it"}


@dataclass(frozen=True)
class OptimizerConfig(Section):
    """The optimiser. A matrix with fan-in n learns at learning_rate / sqrt(n)."""

    name: Literal["soap", "adamw", "adam", "sgd"] = "soap"
    learning_rate: Annotated[float, Limit(above=0, at_most=100)] = 0.03
    betas: tuple[FractionBelowOne, FractionBelowOne] | None = None
    momentum: FractionBelowOne | None = None
    weight_decay: NonNegative = 0.0
    #: Steps between refreshes of SOAP's eigenbases (default 10).
    precondition_frequency: PositiveInt | None = None
    #: Sides of matrices are cut into equal blocks of at most this length, each with eigenbases of its own (SOAP;
    #: default 64; a large number cuts nothing).
    block_size: PositiveInt | None = None
    #: Factor on the learning rate for each layer farther from the readout (fine-tuning); 1: all layers alike.
    layer_decay: Annotated[float, Limit(above=0, at_most=1)] = 1.0
    #: Regular expression on parameter names -> factor on the learning rate; 0 freezes.
    parameter_groups: Mapping[Expression, NonNegative] = field(default_factory=dict)

    def ineffective(self) -> dict[str, str]:
        reasons = {}
        if self.name == "sgd":
            reasons["betas"] = "optimizer.name sgd uses momentum"
        else:
            reasons["momentum"] = f"only optimizer.name sgd uses it, {self.name} has betas"
        if self.name != "soap":
            reasons["precondition_frequency"] = reasons["block_size"] = "only optimizer.name soap uses it"
        return reasons


@dataclass(frozen=True)
class ScheduleConfig(Section):
    """The learning rate over time."""

    name: Literal["cosine", "plateau", "constant"] = "cosine"
    #: Steps of linear warm-up.
    warmup_steps: Count = 50
    #: Final learning rate as a fraction of the first (cosine).
    final_fraction: Fraction = 0.01
    #: Factor and patience in epochs (plateau; defaults 0.5 and 10).
    factor: OpenFraction | None = None
    patience: Count | None = None

    def check(self) -> None:
        if self.name == "plateau":
            self._set("factor", 0.5 if self.factor is None else self.factor)
            self._set("patience", 10 if self.patience is None else self.patience)

    def ineffective(self) -> dict[str, str]:
        reasons = {}
        if self.name != "plateau":
            reasons["factor"] = reasons["patience"] = "only schedule.name plateau uses it"
        if self.name != "cosine":
            reasons["final_fraction"] = "only schedule.name cosine uses it"
        return reasons


@dataclass(frozen=True)
class TrainingConfig(Section):
    """The loop: how long, how large a batch, what is averaged, saved and stopped on."""

    epochs: Annotated[int, Limit(at_least=1, at_most=10_000_000)] = 100
    #: Frames a step (5 where batch_edges is not given) ...
    batch_size: PositiveInt | None = None
    #: ... or a budget of edges a step.
    batch_edges: PositiveInt | None = None
    #: Batches whose gradients are summed before the optimiser moves.
    accumulate: PositiveInt = 1
    #: Edges a batch when evaluating.
    evaluation_batch_edges: PositiveInt = 50_000
    #: Decay of the exponential moving average of the weights, or null.
    ema_decay: OpenFraction | None = 0.99
    #: Largest norm of the gradient, or null.
    clip_norm: Positive | None = 10.0
    #: Epochs between validations.
    evaluate_every: PositiveInt = 1
    #: What the best epoch is chosen by.
    best_metric: Literal["loss", "forces_mae", "forces_rmse", "energy_mae", "energy_rmse"] = "loss"
    #: The best epoch is chosen after this fraction of the run (small validation sets misfire early).
    select_after: FractionBelowOne = 0.5
    #: Epochs without improvement after which the run ends, or null.
    early_stopping_patience: PositiveInt | None = None
    #: Minutes between resumable checkpoints (one is always written at the end of a run or on a signal).
    checkpoint_minutes: Positive = 5.0
    keep_checkpoints: PositiveInt = 2
    #: Non-finite steps in a row after which the run stops.
    max_bad_steps: PositiveInt = 10
    num_workers: Annotated[int, Limit(at_least=0, at_most=1024)] = 0

    def check(self) -> None:
        if self.batch_size is not None and self.batch_edges is not None:
            raise FieldError(
                "batch_edges",
                f"is {self.batch_edges} and training.batch_size is {self.batch_size}, "
                "expected one of the two; remove the other or set it to null.",
            )
        if self.batch_size is None and self.batch_edges is None:
            self._set("batch_size", 5)


@dataclass(frozen=True)
class PropertyConfig(Section):
    """A crystal whose equation of state and elastic constants are computed after training."""

    name: PlainName
    #: ``sc, fcc, bcc, diamond, hcp, rocksalt, cesiumchloride, zincblende`` as in ase.build.bulk, or ``l12``.
    lattice: Literal["sc", "fcc", "bcc", "diamond", "hcp", "rocksalt", "cesiumchloride", "zincblende", "l12"]
    #: First guess of the lattice constant (Angstrom).
    lattice_constant: Annotated[float, Limit(above=0, at_most=100)]
    #: Chemical formula; default: ``name``.
    formula: NotEmpty | None = None
    #: ``emt`` (ASE's own), or numbers under the names ``lattice_constant`` (Angstrom), ``bulk_modulus``, ``C11``,
    #: ``C12``, ``C44`` (GPa).
    reference: Literal["emt"] | ReferenceValues | None = None

    def check(self) -> None:
        name, text = ("name", self.name) if self.formula is None else ("formula", self.formula)
        try:
            symbols = Formula(text).count()
        except (ValueError, KeyError):
            symbols = {}
        if not symbols or not set(symbols) <= set(ELEMENTS):
            raise FieldError(
                name,
                f"is {text!r}, expected a chemical formula such as Cu or Cu3Au"
                + ("; or give 'formula' beside the name." if self.formula is None else "."),
            )


@dataclass(frozen=True)
class ModelCardConfig(Section):
    """What a stranger should know of the model; it is kept in the model file and stands in the report."""

    #: What the model is meant for, in a sentence.
    purpose: NotEmpty | None = None
    #: How the labels were computed: functional, dispersion, cutoff, k-points, code.
    level_of_theory: NotEmpty | None = None
    licence: NotEmpty | None = None
    #: What to cite for the model and its data.
    citation: NotEmpty | None = None


@dataclass(frozen=True)
class Config(Section):
    """A whole training job."""

    #: Keys of other packages are answered with those here (see ``build``).
    answers_foreign_keys = True

    name: PlainName = "run"
    #: Where the run folder is made; default: runs/<name>.
    run_directory: NotEmpty | None = None
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    #: Makes the training a fine-tuning of a finished potential (``equipot finetune``).
    finetune: FinetuneConfig | None = None
    properties: tuple[PropertyConfig, ...] = ()
    #: Physics check of the finished model, as `equipot check`: ``short`` takes seconds, ``full`` minutes, ``off`` none.
    #: What fails is said loudly, in summary.json and in the report; the run and its model stay.
    physics_check: Literal["short", "full", "off"] = "short"
    #: Page, plots, data check and timing at the end of a run: ``full``, or ``off`` (`equipot report` makes it later).
    report: Literal["full", "off"] = "full"
    model_card: ModelCardConfig = field(default_factory=ModelCardConfig)

    def check(self) -> None:
        names = [crystal.name for crystal in self.properties]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise FieldError(f"properties.{index}.name", f"is {name!r} a second time, expected each name once.")

    def ineffective(self) -> dict[str, str]:
        if self.finetune is None:
            return {}
        return {
            "model": "the model of a fine-tuning is that of its base",
            "data.elements": "the elements of a fine-tuning are those of its base",
            "data.atomic_energies": "in a fine-tuning finetune.atomic_energies says it",
        }


def _check_loss_weights(section: LossConfig | StageTwoConfig) -> None:
    if section.energy_weight == section.forces_weight == section.stress_weight == 0:
        raise FieldError("forces_weight", "is 0 like the other weights, expected at least one weight above 0.")
