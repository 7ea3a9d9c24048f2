"""The completeness audit: the effects that each order owes, compared with the effects that exist."""
