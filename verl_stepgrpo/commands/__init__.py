"""Commands of ``verl-stepgrpo`` with much to show, one a module; ``cli`` names them to Typer, and nothing else does."""
