"""The benchmark of the relay, on real servers: `python -m lab.bench.relay`, or `make bench-relay`."""
