"""Between moderation and python-threatexchange (pytx): `plugin.py` brings its classifiers and signal types here, `classifier.py` brings policies there."""
