"""The worker process: Celery takes messages from RabbitMQ and hands each one to consumers.delivery."""
