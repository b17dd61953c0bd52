"""Mutated files by the thousand, each read with bounded time and memory, and what became of it."""
