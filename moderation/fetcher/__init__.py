"""References into bytes: only by schemes and hosts that the settings name, only from addresses that may be reached."""
