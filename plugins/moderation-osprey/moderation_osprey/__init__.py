"""Policies in Osprey's rules: `plugin.py` is the UDF, `client.py` asks `moderation serve`. Nothing of moderation is imported: both cannot live in one environment."""
