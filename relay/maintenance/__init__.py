"""The leader's duties beside publishing, one per module."""
