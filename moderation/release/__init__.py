"""What lets a policy go live."""
