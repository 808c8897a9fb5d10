"""Policies and encoders over HTTP: a batcher that adds no wait, and an app that OpenAI's clients use unchanged."""
