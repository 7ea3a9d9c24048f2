"""What an operator uses: typed functions, shared by every front end. Only `ops.cli` prints."""
