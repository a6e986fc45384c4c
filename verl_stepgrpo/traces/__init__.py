"""Traces of a run: their rows, their files, and the header that says how the run was started."""
