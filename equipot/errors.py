"""The exceptions equipot raises for a user's mistakes and for states it cannot go on from.

Every message is one or two plain sentences that say what was wrong, where (file, frame, atom, key), what was
found, what was expected and what to do. The command line prints the message alone and exits with ``exit_code``.
"""

from __future__ import annotations


class EquipotError(Exception):
    """Base of every error a user can cause or must act on."""

    exit_code = 1


class UsageError(EquipotError):
    """The command line or a call was used in a way that has no meaning."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or an override holds something that is not valid."""


class DataError(EquipotError):
    """A file of structures or labels cannot be read as it stands."""


class StructureError(DataError):
    """A structure is not one a potential can be evaluated on (NaN, coincident atoms, no volume, ...)."""


class ElementError(DataError):
    """A structure holds an element the potential does not know."""


class CheckpointError(EquipotError):
    """A model file or checkpoint is damaged, from another version, or does not fit."""


class NumericalError(EquipotError):
    """Numbers became non-finite and going on would only hide it."""


class Interrupted(EquipotError):
    """A run was asked to stop, saved its state and can be resumed."""

    exit_code = 75
