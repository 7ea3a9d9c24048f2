"""A whole system on this machine: its servers, sandboxes and processes, with all their data in one folder."""
