"""TCP proxies before servers, for the proof and for the tests.

connection  one connection through a proxy: its two ends, and the gate that passes or holds its bytes
proxy       the proxy before one server, the proxies of a block, and what a caller does with them
"""
