"""Percentiles by nearest rank, as every trial and benchmark prints them. Pure."""

from collections.abc import Sequence


def percentile(values: Sequence[float], per_cent: int) -> float:
    """The smallest value that at least `per_cent` of all values do not exceed. Raises ValueError for no values."""
    if not values:
        raise ValueError("there is no percentile of no values")
    rank = -(-len(values) * per_cent // 100)
    return sorted(values)[max(rank, 1) - 1]


def rounded_percentile(values: Sequence[float], per_cent: int) -> float | None:
    """The percentile to a tenth, None of no values: as the JSON lines and tables of trials have it."""
    return round(percentile(values, per_cent), 1) if values else None
