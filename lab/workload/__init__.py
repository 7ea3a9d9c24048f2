"""Orders to send, generated or from a folder, and what must come of them."""
