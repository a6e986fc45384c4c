"""Whether an answer is the reference's: ``judge`` asks one reader after the other, math-verify last."""
