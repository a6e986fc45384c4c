"""``python -m verl_stepgrpo`` is the command ``verl-stepgrpo``."""

from verl_stepgrpo.cli import main

if __name__ == "__main__":
    main()
