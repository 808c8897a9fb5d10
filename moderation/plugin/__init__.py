"""How detectors and encoders arrive. pluggy is imported only here: it registers, it never runs anything."""
