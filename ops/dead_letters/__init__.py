"""Dead letters: list, replay, discard and restore. Typed functions; `ops.cli` prints what they return."""
