"""Health of the relay: liveness state, monitor, metrics, and the HTTP endpoint that serves them."""
