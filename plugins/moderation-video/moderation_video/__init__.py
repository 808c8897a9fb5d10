"""Frames of videos. Empty on purpose: the process that decodes one imports its part of this package and no moderation."""
