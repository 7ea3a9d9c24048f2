"""PostgreSQL, RabbitMQ and Prometheus on this machine: borrowed, in Docker, or private processes."""
