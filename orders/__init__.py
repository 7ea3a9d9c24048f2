"""The business: orders, their steps, their progress and their audit."""
