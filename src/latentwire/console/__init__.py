"""What the user reads while it runs: logging, progress, heartbeats."""
