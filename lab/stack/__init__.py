"""A whole system on this machine: servers, sandboxes and processes in one folder."""
