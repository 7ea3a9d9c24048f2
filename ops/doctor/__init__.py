"""Checks of a running system, as functions. ops.cli prints what they return."""
