"""Policies in Osprey's rules. `plugin.py` and `client.py` are Osprey's side, `sidecar.py` is moderation's; nothing is imported by both."""
