"""Tests of `ops.observe`."""
