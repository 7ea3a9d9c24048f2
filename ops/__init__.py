"""What an operator uses, as typed functions. Only ops.cli prints."""
