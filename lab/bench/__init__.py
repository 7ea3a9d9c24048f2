"""What the project's figures come from. A benchmark runs on real servers and may import everything."""
