"""The faults of a proof: planned from a seed, injected into a running system."""
