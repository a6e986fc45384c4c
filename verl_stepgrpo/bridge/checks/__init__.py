"""What is looked at before Ray starts: settings, data, model, checkpoints, and the nodes of a cluster.

May import ``cluster/``. ``extensions.py`` loads ``preflight``, the driver the rest; ``hooks/`` takes ``checkpoints``.
"""
