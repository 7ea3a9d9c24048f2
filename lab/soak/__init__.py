"""`lab soak`: a steady load for minutes, and whether backlog or memory grows."""
