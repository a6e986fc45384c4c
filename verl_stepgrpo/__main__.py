"""``python -m verl_stepgrpo`` is the command ``verl-stepgrpo``."""

import sys


def main() -> None:
    """Run the command; where the package was installed for scoring alone, say what the commands need."""
    try:
        from verl_stepgrpo.cli import main as run
    except ModuleNotFoundError as error:
        print(
            f"verl-stepgrpo: {error}. The commands need all dependencies: install without --no-deps.",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    run()


if __name__ == "__main__":
    main()
