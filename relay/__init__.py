"""Carries recorded events to RabbitMQ. Payload-blind: imports nothing of orders."""
