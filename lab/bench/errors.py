"""The error of a benchmark; printed as one line."""

from ops.errors import OpsError


class BenchError(OpsError):
    """A measurement could not be made; the text says why, and where the cause shows."""
