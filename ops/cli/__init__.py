"""The command `waybill`. No other package of ops prints."""
