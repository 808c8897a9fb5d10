"""What is judged, found and read: files, folders, JSON lines, Parquet; and divided for many hands."""
