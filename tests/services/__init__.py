"""A real Kafka broker and a real Redis server for tests: what can be had here, and one set of them for a whole run."""
