"""What can go wrong in a benchmark; shown as one line."""

from ops.errors import OpsError


class BenchError(OpsError):
    """A measurement could not be made; the text says why and where to look."""
