"""The collector, a process of its own: it moves dead letters from RabbitMQ into Postgres and sends alerts."""
