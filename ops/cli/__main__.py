"""`python -m ops.cli` is `waybill`."""

from ops.cli.main import main

main()
