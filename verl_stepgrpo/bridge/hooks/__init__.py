"""What is hung into verl, Hydra and OmegaConf while they run: each module wraps what its first lines name.

May import ``checks/`` and ``cluster/``. ``extensions.py`` alone loads it.
"""
