"""The routes, one module per thing that can be asked for."""
