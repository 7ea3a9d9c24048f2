"""The relay's position in the outbox: read by snapshot, logged page by page."""
