"""The command `waybill`. The only package of ops that prints."""
