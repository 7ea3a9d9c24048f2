"""The processes that the benchmarks start."""
