"""Checks of models (:mod:`equipot.checks.model`) and of data (:mod:`equipot.checks.data`), on one core."""
