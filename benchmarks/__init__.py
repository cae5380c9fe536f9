"""Ratios measured side by side in one run, against named peers: `make bench`, `python -m benchmarks`."""
