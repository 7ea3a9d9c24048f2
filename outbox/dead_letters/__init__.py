"""Dead letters in Postgres: store, search, replay, discard, alert."""
