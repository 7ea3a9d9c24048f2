"""PostgreSQL, RabbitMQ and Prometheus for a stack: given servers, Docker containers, or private processes."""
