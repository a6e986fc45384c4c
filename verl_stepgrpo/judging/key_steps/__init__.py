"""Whether a step says what a key step says: ``match``."""
