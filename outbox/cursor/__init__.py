"""The relay's cursor over the outbox: read by snapshot, logged page by page."""
