"""List, replay and discard dead letters, as functions. ops.cli prints what they return."""
