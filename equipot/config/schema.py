"""The configuration of a training job: one frozen dataclass a section, every key with its meaning and unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

ReferenceValues = Mapping[str, float]


@dataclass(frozen=True)
class KeysConfig:
    """Where the labels are. ``auto`` searches the documented list; ``null`` ignores the label; a name is that key."""

    energy: str | None = "auto"
    forces: str | None = "auto"
    stress: str | None = "auto"
    virial: str | None = "auto"


@dataclass(frozen=True)
class UnitsConfig:
    """Units and the stress sign of the labels in the files (positions are in Angstrom)."""

    energy: Literal["eV", "meV", "Ha", "Ry", "kcal/mol", "kJ/mol"] = "eV"
    forces: Literal["eV/A", "meV/A", "Ha/Bohr", "Ry/Bohr", "kcal/mol/A"] = "eV/A"
    stress: Literal["eV/A^3", "GPa", "kbar", "bar"] = "eV/A^3"
    #: ``tension_positive`` is ASE's; ``compression_positive`` is VASP's and LAMMPS' pressure; ``proven`` takes the
    #: sign from dE/dV of the frames and stops where they cannot prove it.
    stress_sign: Literal["tension_positive", "compression_positive", "proven"] = "tension_positive"


@dataclass(frozen=True)
class SplitConfig:
    """How frames of ``data.train`` are set aside where no validation or test files are given."""

    method: Literal["fraction", "group"] = "fraction"
    validation: float = 0.1
    test: float = 0.1
    #: ``fraction`` draws within each config_type; ``group`` keeps frames with the same value of this key together.
    group_key: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class DataConfig:
    """Which frames, which labels in them, and how they are weighted and split."""

    #: Folder the file names are relative to; default: the variable EQUIPOT_DATA, else the configuration's folder.
    root: str | None = None
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
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
    atomic_energies: Literal["auto", "isolated", "least_squares"] | Mapping[str, float] = "auto"
    #: Element symbols the potential shall know; ``auto``: those in the training frames.
    elements: Literal["auto"] | tuple[str, ...] = "auto"
    #: config_type -> factor on all three loss terms of its frames (times the frame's own config_weight).
    config_weights: Mapping[str, float] = field(default_factory=dict)
    #: Two atoms closer than this (Angstrom) are an error.
    min_distance: float = 0.05


@dataclass(frozen=True)
class ModelConfig:
    """The potential. Keys not listed here belong to the architecture and are checked by it."""

    architecture: str = "mace"
    preset: Literal["small", "medium", "large"] | None = "small"
    #: Angstrom.
    cutoff: float = 5.0
    dtype: Literal["float32", "float64"] = "float32"
    #: Ziegler-Biersack-Littmark core repulsion between close atoms.
    zbl: bool = False
    #: Mean number of neighbours that normalises message sums; ``auto``: that of the training frames.
    avg_num_neighbors: Literal["auto"] | float = "auto"
    #: eV: factor on the network's output; ``auto``: root mean square force of the training frames times 1 Angstrom.
    scale: Literal["auto"] | float | Mapping[str, float] = "auto"
    #: eV/atom added to bound atoms, switched off smoothly where an atom has no neighbours; ``auto``: mean of what the
    #: atomic energies leave.
    shift: Literal["auto"] | float | Mapping[str, float] = "auto"
    #: Whether the per-element scale and shift are trained.
    trainable_scale_shift: bool = False
    #: An atom without neighbours has exactly its atomic energy.
    exact_isolated_atoms: bool = True
    #: The architecture's own keys (l_max, num_channels, num_layers, ...), validated by the registry.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageTwoConfig:
    """Loss weights and learning rate for the last part of a run."""

    #: Fraction of all epochs after which stage two begins.
    start: float = 0.75
    energy_weight: float = 10.0
    forces_weight: float = 1.0
    stress_weight: float = 0.3
    #: Factor on the learning rate.
    learning_rate_factor: float = 1.0


@dataclass(frozen=True)
class LossConfig:
    """Errors of energy per atom (eV), forces (eV/Angstrom) and virial per atom (eV), each over the force rms."""

    energy: Literal["mse", "mae", "huber"] = "huber"
    #: ``norm`` is the length of each atom's force error vector, smoothed at ``delta``.
    forces: Literal["mse", "mae", "huber", "norm"] = "norm"
    stress: Literal["mse", "mae", "huber"] = "huber"
    energy_weight: float = 2.0
    forces_weight: float = 1.0
    stress_weight: float = 0.3
    #: Where huber and norm turn from quadratic to linear, in units of the force rms.
    delta: float = 0.05
    stage_two: StageTwoConfig | None = None


@dataclass(frozen=True)
class OptimizerConfig:
    """The optimiser. A matrix with fan-in n learns at learning_rate / sqrt(n)."""

    name: Literal["soap", "adamw", "adam", "sgd"] = "soap"
    learning_rate: float = 0.03
    betas: tuple[float, float] | None = None
    momentum: float | None = None
    weight_decay: float = 0.0
    #: Steps between refreshes of SOAP's eigenbases (default 10).
    precondition_frequency: int | None = None
    #: Regular expression on parameter names -> factor on the learning rate; 0 freezes.
    parameter_groups: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time."""

    name: Literal["cosine", "plateau", "constant"] = "cosine"
    #: Steps of linear warm-up.
    warmup_steps: int = 50
    #: Final learning rate as a fraction of the first (cosine).
    final_fraction: float = 0.01
    #: Factor and patience in epochs (plateau; defaults 0.5 and 10).
    factor: float | None = None
    patience: int | None = None


@dataclass(frozen=True)
class TrainingConfig:
    """The loop: how long, how large a batch, what is averaged, saved and stopped on."""

    epochs: int = 100
    #: Frames a step ...
    batch_size: int | None = 5
    #: ... or a budget of edges a step (then batch_size must be null).
    batch_edges: int | None = None
    #: Batches whose gradients are summed before the optimiser moves.
    accumulate: int = 1
    #: Edges a batch when evaluating.
    evaluation_batch_edges: int = 50_000
    #: Decay of the exponential moving average of the weights, or null.
    ema_decay: float | None = 0.99
    #: Largest norm of the gradient, or null.
    clip_norm: float | None = 10.0
    #: Epochs between validations.
    evaluate_every: int = 1
    #: What the best epoch is chosen by.
    best_metric: Literal["loss", "forces_mae", "forces_rmse", "energy_mae", "energy_rmse"] = "loss"
    #: The best epoch is chosen after this fraction of the run (small validation sets misfire early).
    select_after: float = 0.5
    #: Epochs without improvement after which the run ends, or null.
    early_stopping_patience: int | None = None
    #: Minutes between resumable checkpoints (one is always written at the end of a run or on a signal).
    checkpoint_minutes: float = 5.0
    keep_checkpoints: int = 2
    #: Non-finite steps in a row after which the run stops.
    max_bad_steps: int = 10
    num_workers: int = 0


@dataclass(frozen=True)
class PropertyConfig:
    """A crystal whose equation of state and elastic constants are computed after training."""

    name: str
    #: ``sc, fcc, bcc, diamond, hcp, rocksalt, cesiumchloride, zincblende`` as in ase.build.bulk, or ``l12``.
    lattice: str
    #: First guess of the lattice constant (Angstrom).
    lattice_constant: float
    #: Chemical formula; default: ``name``.
    formula: str | None = None
    #: ``emt`` (ASE's own), or numbers under the names ``lattice_constant`` (Angstrom), ``bulk_modulus``, ``C11``,
    #: ``C12``, ``C44`` (GPa).
    reference: Literal["emt"] | ReferenceValues | None = None


@dataclass(frozen=True)
class Config:
    """A whole training job."""

    name: str = "run"
    #: Where the run folder is made; default: runs/<name>.
    run_directory: str | None = None
    seed: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    properties: tuple[PropertyConfig, ...] = ()
