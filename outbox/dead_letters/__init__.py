"""Dead letters in Postgres: stored, searched, replayed, discarded."""
