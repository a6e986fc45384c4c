"""The commands of ``verl-stepgrpo``, each in a module of its own beside what it shows; ``cli`` names them to Typer.

They read options and print. What they do is in ``data``, ``evaluation``, ``replay``, ``report`` and ``doctor``, which
are imported where a command runs, so that ``--help`` waits for none of them. Nothing but ``cli`` imports a command.
"""
