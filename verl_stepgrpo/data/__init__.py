"""From raw datasets to verl's parquet: readers, rows, checks. No torch, no verl."""
