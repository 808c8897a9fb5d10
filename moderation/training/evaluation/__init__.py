"""Measures of an encoder by its vectors alone: nothing here knows how it was trained."""
