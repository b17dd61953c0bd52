"""Parts of benchmark_peers.py: the matched models, one worker program a package, and what drives them."""
