"""Parts of ``scripts/benchmarks/benchmark_finetuning.py``."""
