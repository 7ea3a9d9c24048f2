"""Relay: publishes recorded events to RabbitMQ. Payload-blind: it imports nothing of orders."""
