"""The completeness audit: every order against the effects that it owes, as functions."""
