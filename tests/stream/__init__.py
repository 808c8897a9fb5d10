"""What the tests of the stream share: topics of their own, workers in processes of their own, and counting at the end."""
