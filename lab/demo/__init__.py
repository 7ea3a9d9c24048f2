"""`lab demo`: orders through a fresh system, every effect counted where it landed."""
