"""The person at the keyboard: the command line, the local stack, the demo, the doctor."""
