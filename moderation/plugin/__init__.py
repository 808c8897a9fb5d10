"""How detectors, encoders and fetchers arrive. pluggy is imported only here: it registers, it never runs anything."""
