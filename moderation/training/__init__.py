"""Training of small image and text encoders: prepared pictures in, a resumable run out."""
