"""What was decided and embedded, kept in files that other tools read."""
