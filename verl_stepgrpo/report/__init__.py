"""One HTML file about a training run, from its traces. Reads and renders only: nothing here judges a response."""
