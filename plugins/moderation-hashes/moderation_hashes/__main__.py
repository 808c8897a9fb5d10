"""`python -m moderation_hashes`, where the script is not on the path."""

from moderation_hashes.command import main

main()
