"""`python -m moderation_lists`, where the script is not on the path."""

from moderation_lists.command import main

main()
