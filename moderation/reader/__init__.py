"""Parts into parts that can be judged: the text in a picture, the frames of a video."""
