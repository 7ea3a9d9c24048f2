"""Partitions of the outbox's tables: created ahead of need, dropped when nothing can need them any more."""
