"""Content into vectors. torch and transformers are imported only here and in training."""
