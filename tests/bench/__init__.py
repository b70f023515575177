"""Benchmarks: `make bench-NAME`. Ratios within one run; reports are saved under docs/benchmarks/."""
