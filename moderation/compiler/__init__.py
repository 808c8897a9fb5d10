"""Policy text into a classifier with certified thresholds."""
