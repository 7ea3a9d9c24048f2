"""Removes secrets and personal data from texts before they are logged, sent or stored."""
