"""Whether the equations that steps state are true: ``3 + 5 = 8`` is, ``3 + 5 = 9`` is not.

``equations`` finds them; ``plain`` settles most sentences, ``said`` the others, with ``rounding`` and ``doubts``. It
imports the reader of key steps, whose other files do not import it.
"""

from verl_stepgrpo.judging.key_steps.calculations.equations import Equation, equations_of, false_steps

__all__ = ["Equation", "equations_of", "false_steps"]
