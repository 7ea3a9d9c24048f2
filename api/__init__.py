"""The HTTP API. No other package of the product imports fastapi."""
