"""Finds orders by what an operator knows of them."""
