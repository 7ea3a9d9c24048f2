"""How the relay shows that it works: liveness, metrics, and the thread that serves both."""
