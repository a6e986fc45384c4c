"""Judge a model on verl's parquet: sample responses, score them, and say how sure the means are."""
