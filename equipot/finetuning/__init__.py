"""Fine-tuning: what a training from a finished potential needs besides training itself.

The base is read (``base``), gains or loses elements (``elements``), its atomic energies are fitted anew
(``atomic_energies``), and what trains is chosen: blocks (``freezing``, ``blocks``), corrections of low rank
(``low_rank``), parameters for each of two heads (``heads``). Structures the base has labelled may be replayed
(``pseudo_labels``). Before the first step the potential must predict what its base predicts (``equality``).
"""

from __future__ import annotations

from equipot.finetuning.base import Base, load_base
from equipot.finetuning.start import Start, start_from

__all__ = ["Base", "Start", "load_base", "start_from"]
