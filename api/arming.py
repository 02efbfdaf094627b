"""Arms the probe of a node that a test starts. An installation has nothing to arm it with, and then refuses."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

from actors.model.errors import ConfigurationError
from actors.runtime import probe

VARIABLES = ("CALLBOARD_TEST_FAILPOINTS", "CALLBOARD_TEST_HISTORY")
MODULE = "tests.system.bench.arm"


def arm(environ: Mapping[str, str]) -> None:
    """Does nothing unless one of the variables is set. Raises ConfigurationError when it can't be done."""
    given = [name for name in VARIABLES if environ.get(name)]
    if not given:
        return
    try:
        module = importlib.import_module(MODULE)
    except ModuleNotFoundError:
        raise ConfigurationError([f"{given[0]}: for tests in the repository only; remove it"]) from None
    try:
        probe.armed = module.armed(environ)
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None
