"""Parts of ``scripts/benchmark_finetuning.py``."""
