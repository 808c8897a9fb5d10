"""How detectors, readers, encoders, fetchers and sinks arrive. pluggy is imported only here: it registers, it never runs anything."""
