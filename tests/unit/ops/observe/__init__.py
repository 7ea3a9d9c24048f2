"""Tests of `lab.observe`."""
