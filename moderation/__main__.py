"""`python -m moderation`."""

from moderation.cli.main import main

main()
