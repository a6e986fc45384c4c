"""Text as tokens, numbers and units; what both key steps and answers read with."""
