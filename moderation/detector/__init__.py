"""Vectors and content into scores."""
