"""One order's progress and timeline, for the API and the command line."""
