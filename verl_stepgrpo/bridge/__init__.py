"""The bridge to verl 0.9.1: the only package, with ``verl_stepgrpo.cpu``, that imports verl."""
