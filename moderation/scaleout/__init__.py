"""The pipeline and the app on Ray."""
