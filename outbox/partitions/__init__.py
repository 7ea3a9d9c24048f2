"""Partitions of the outbox's tables: made ahead of need, dropped behind retention."""
