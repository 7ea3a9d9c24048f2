"""Orders as an operator names them."""
