"""What the rules say: files, their checks, their locks, and the pure rule that decides."""
