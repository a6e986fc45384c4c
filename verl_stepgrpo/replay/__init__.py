"""Rescore the responses of a run under other settings, from its traces alone: no GPU, no model, no verl."""
