"""The entry point that verl loads (group ``verl.plugins``, name ``stepgrpo``).

verl only loads it, in every process that imports verl and in the middle of ``import verl``, so
registration happens on import of this module. verl hides a plugin's error at DEBUG, and the user would see
no more than an unknown estimator, minutes later; so this module imports nothing that can fail outside its
``try``, and reports at WARNING.
"""

import logging

try:
    from verl_stepgrpo.bridge import extensions

    extensions.register()
except Exception as error:  # whatever it is, verl would hide it
    logging.getLogger("verl_stepgrpo").warning(
        "verl-stepgrpo was not loaded: %s: %s. StepGRPO is not available in this process. Reinstall "
        "verl-stepgrpo beside the verl it is written for (0.9.1), or set VERL_USE_EXTERNAL_PLUGINS=none to "
        "run without it.",
        type(error).__name__,
        error,
    )
    raise
