"""`python -m moderation_onnx`, where the script is not on the path."""

from moderation_onnx.command import main

main()
