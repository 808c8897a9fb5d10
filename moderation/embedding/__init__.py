"""Vectors, remembered."""
