"""The policies in force."""
