"""The business: what an order is and what happens to it."""
