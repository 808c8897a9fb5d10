"""Training encoders: a straight loop of our own."""
