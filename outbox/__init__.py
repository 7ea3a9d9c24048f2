"""Messages at rest in Postgres. Knows nothing of orders, of HTTP or of brokers."""
