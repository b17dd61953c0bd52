"""Names that MACE, NequIP (and Allegro) and SevenNet give to what stands under another name here."""

from __future__ import annotations

import re
from typing import Any

_M, _N, _S = "MACE", "NequIP", "SevenNet"

#: Key of another package -> (whose it is, what it is here). Keys that are called the same here are not listed.
_ANSWERS: dict[str, tuple[str, str]] = {
    # the model
    "r_max": (f"{_M}'s and {_N}'s", "model.cutoff (Angstrom)"),
    "cutoff_radius": (f"{_N}'s", "model.cutoff (Angstrom)"),
    "hidden_irreps": (f"{_M}'s", "model.num_channels with model.feature_l_max"),
    "max_ell": (f"{_M}'s", "model.l_max"),
    "max_L": (f"{_M}'s", "model.feature_l_max"),
    "num_interactions": (f"{_M}'s", "model.num_layers"),
    "correlation": (f"{_M}'s", "model.correlation (architecture: mace)"),
    "num_radial_basis": (f"{_M}'s", "model.num_bessel"),
    "num_cutoff_basis": (f"{_M}'s", "model.envelope_power"),
    "radial_MLP": (f"{_M}'s", "model.radial_hidden"),
    "MLP_irreps": (f"{_M}'s", "model.readout_hidden"),
    "pair_repulsion": (f"{_M}'s", "model.zbl"),
    "distance_transform": (f"{_M}'s", "model.agnesi"),
    "scaling": (f"{_M}'s", "model.scale with model.shift"),
    "default_dtype": (f"{_M}'s and {_N}'s", "model.dtype"),
    "model_dtype": (f"{_N}'s", "model.dtype"),
    "num_features": (f"{_N}'s", "model.num_channels"),
    "num_basis": (f"{_N}'s", "model.num_bessel"),
    "num_bessels": (f"{_N}'s", "model.num_bessel"),
    "PolynomialCutoff_p": (f"{_N}'s", "model.envelope_power"),
    "polynomial_cutoff_p": (f"{_N}'s", "model.envelope_power"),
    "invariant_layers": (f"{_N}'s", "the length of model.radial_hidden"),
    "invariant_neurons": (f"{_N}'s", "the numbers of model.radial_hidden"),
    "radial_mlp_depth": (f"{_N}'s", "the length of model.radial_hidden"),
    "radial_mlp_width": (f"{_N}'s", "the numbers of model.radial_hidden"),
    "use_sc": (f"{_N}'s", "model.self_connection (architecture: nequip)"),
    "parity": (f"{_N}'s", "model.parity (architecture: nequip)"),
    "chemical_symbols": (f"{_N}'s", "data.elements"),
    "type_names": (f"{_N}'s", "data.elements"),
    "model_type_names": (f"{_N}'s", "data.elements"),
    "chemical_species": (f"{_S}'s", "data.elements"),
    "channel": (f"{_S}'s", "model.num_channels"),
    "lmax": (f"{_S}'s", "model.l_max"),
    "num_convolution_layer": (f"{_S}'s", "model.num_layers"),
    "is_parity": (f"{_S}'s", "model.parity (architecture: nequip)"),
    "bessel_basis_num": (f"{_S}'s", "model.num_bessel"),
    "weight_nn_hidden_neurons": (f"{_S}'s", "model.radial_hidden"),
    "conv_denominator": (f"{_S}'s", "model.avg_num_neighbors"),
    "self_connection_type": (f"{_S}'s", "model.self_connection (architecture: nequip)"),
    "train_shift_scale": (f"{_S}'s", "model.trainable_scale_shift"),
    # the data
    "train_file": (f"{_M}'s", "data.train (a list)"),
    "valid_file": (f"{_M}'s", "data.validation (a list)"),
    "test_file": (f"{_M}'s", "data.test (a list)"),
    "valid_fraction": (f"{_M}'s", "data.split.validation"),
    "energy_key": (f"{_M}'s", "data.keys.energy"),
    "forces_key": (f"{_M}'s", "data.keys.forces"),
    "stress_key": (f"{_M}'s", "data.keys.stress"),
    "virials_key": (f"{_M}'s", "data.keys.virial"),
    "E0s": (f"{_M}'s", "data.atomic_energies"),
    "config_type_weights": (f"{_M}'s", "data.config_weights"),
    "atomic_numbers": (f"{_M}'s", "data.elements (symbols)"),
    "dataset_file_name": (f"{_N}'s", "data.train (a list)"),
    "validation_dataset_file_name": (f"{_N}'s", "data.validation (a list)"),
    "n_val": (f"{_N}'s", "data.split.validation (a fraction)"),
    "train_val_split": (f"{_N}'s", "data.split.method"),
    "key_mapping": (f"{_N}'s", "data.keys"),
    "load_dataset_path": (f"{_S}'s", "data.train (a list)"),
    "load_trainset_path": (f"{_S}'s", "data.train (a list)"),
    "load_validset_path": (f"{_S}'s", "data.validation (a list)"),
    "load_testset_path": (f"{_S}'s", "data.test (a list)"),
    "data_divide_ratio": (f"{_S}'s", "data.split.validation"),
    # training
    "lr": (f"{_M}'s and {_S}'s", "optimizer.learning_rate"),
    "max_num_epochs": (f"{_M}'s", "training.epochs"),
    "max_epochs": (f"{_N}'s", "training.epochs"),
    "epoch": (f"{_S}'s", "training.epochs"),
    "valid_batch_size": (f"{_M}'s", "training.evaluation_batch_edges (edges, not frames)"),
    "eval_interval": (f"{_M}'s", "training.evaluate_every"),
    "per_epoch": (f"{_S}'s", "training.checkpoint_minutes (minutes, not epochs)"),
    "patience": (f"{_M}'s", "training.early_stopping_patience"),
    "early_stopping_patiences": (f"{_N}'s", "training.early_stopping_patience"),
    "clip_grad": (f"{_M}'s", "training.clip_norm"),
    "gradient_clip_val": (f"{_N}'s", "training.clip_norm"),
    "ema": (f"{_M}'s", "training.ema_decay (a number, or null for none)"),
    "use_ema": (f"{_N}'s", "training.ema_decay (a number, or null for none)"),
    "metrics_key": (f"{_N}'s", "training.best_metric"),
    "optimizer_name": (f"{_N}'s", "optimizer.name"),
    "optim": (f"{_S}'s", "optimizer.name"),
    "optim_param": (f"{_S}'s", "the section optimizer"),
    "optimizer_params": (f"{_N}'s", "the section optimizer"),
    "scheduler": (f"{_M}'s and {_S}'s", "schedule.name"),
    "lr_scheduler_name": (f"{_N}'s", "schedule.name"),
    "scheduler_param": (f"{_S}'s", "the section schedule"),
    "scheduler_patience": (f"{_M}'s", "schedule.patience"),
    "lr_factor": (f"{_M}'s", "schedule.factor"),
    "virials_weight": (f"{_M}'s", "loss.stress_weight"),
    "force_loss_weight": (f"{_S}'s", "loss.forces_weight"),
    "stress_loss_weight": (f"{_S}'s", "loss.stress_weight"),
    "energy_loss_weight": (f"{_S}'s", "loss.energy_weight"),
    "loss_coeffs": (f"{_N}'s", "loss.energy_weight, loss.forces_weight and loss.stress_weight"),
    "is_train_stress": (f"{_S}'s", "loss.stress_weight (0 for no)"),
    "swa": (f"{_M}'s", "the section loss.stage_two"),
    "start_swa": (f"{_M}'s", "loss.stage_two.start (a fraction of the epochs)"),
    "start_stage_two": (f"{_M}'s", "loss.stage_two.start (a fraction of the epochs)"),
    "swa_lr": (f"{_M}'s", "loss.stage_two.learning_rate_factor (a factor)"),
    "swa_energy_weight": (f"{_M}'s", "loss.stage_two.energy_weight"),
    "swa_forces_weight": (f"{_M}'s", "loss.stage_two.forces_weight"),
    "foundation_model": (f"{_M}'s", "finetune.base"),
    "random_seed": (f"{_S}'s", "seed"),
    "dataset_seed": (f"{_N}'s", "data.split.seed"),
    "work_dir": (f"{_M}'s", "run_directory"),
    "root": (f"{_N}'s", "run_directory"),
    "run_name": (f"{_N}'s", "name"),
    "restart_latest": (f"{_M}'s", "the option --resume of equipot train"),
    "error_table": (f"{_M}'s", "no key: every run prints and stores all errors"),
}
_TERM = re.compile(r"(\d+)x(\d+)[eo]")


def foreign_answer(key: Any, value: Any) -> tuple[str, str] | None:
    """What another package's key is here: (the path alone, a clause for the message), or None."""
    if not isinstance(key, str) or key not in _ANSWERS:
        return None
    owner, answer = _ANSWERS[key]
    clause = f"{owner} {key} is {answer} here"
    terms = [(int(count), int(l)) for count, l in _TERM.findall(value)] if isinstance(value, str) else []
    if key == "hidden_irreps" and terms:
        channels, highest = max(count for count, _ in terms), max(l for _, l in terms)
        clause += f" (this one: num_channels: {channels}, feature_l_max: {highest})"
    return answer.split(" ")[0].rstrip(","), clause
