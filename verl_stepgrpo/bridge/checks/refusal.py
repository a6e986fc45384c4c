"""Say a mistake that ends verl's command in its own sentence, as Hydra says those of a configuration.

Hydra prints of an exception of its kind ``CompactHydraException`` the message alone, and ends with status 1; with
``HYDRA_FULL_ERROR=1`` it shows the whole traceback.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hydra.errors import CompactHydraException

from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.judging.answers.symbolic import VerifierFailedError

MISTAKES = (ConfigError, DataError, VerifierFailedError)
"""What says all there is to say in its message. Any other error is one of the code, and keeps its traceback."""


@contextlib.contextmanager
def said_in_a_sentence() -> Iterator[None]:
    """Let a mistake leave as what it is and as Hydra's kind as well."""
    try:
        yield
    except MISTAKES as error:
        if isinstance(error, CompactHydraException):
            raise
        own = type(error)
        both = type(own.__name__, (own, CompactHydraException), {"__module__": own.__module__})
        compact = both(*error.args)
        vars(compact).update(vars(error))
        raise compact from error
