"""Decisions to whoever acts on them: the one sink of a process, isolated and checked."""
