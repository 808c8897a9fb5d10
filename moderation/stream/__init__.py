"""Kafka in, Kafka out: values in and out of one hardened session. The only room that knows kafka."""
