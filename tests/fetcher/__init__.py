"""A web server for tests of what fetches references."""
