"""The bridge to verl 0.9.1: the only package, with ``verl_stepgrpo.cpu``, that imports verl.

Here stand the entry point and what configurations and users know by name: reward manager, estimator, dataset. The
rooms: ``checks/``, what is looked at before a run; ``hooks/``, what is hung into it; ``cluster/``, nodes and actors;
``conf/``, the groups of settings.
"""
