"""The core's log in ``logging.getLogger("quark")``."""

import logging
from typing import Dict

from . import _quark

_log = logging.getLogger("quark")
_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG, 5: logging.DEBUG}
_loggers: Dict[str, logging.Logger] = {}
_current = -1


def _emit(level: int, target: str, message: str) -> None:
    logger = _loggers.get(target)
    if logger is None:
        logger = _loggers[target] = logging.getLogger(target.replace("::", "."))
    logger.log(_LEVELS[level], message)


def follow() -> None:
    """Lets the core say what the logger's level admits, and nothing more. Called at each start."""
    global _current
    level = max((core for core, python in _LEVELS.items() if _log.isEnabledFor(python)), default=0)
    level = 4 if level == 5 else level
    if level != _current:
        _current = level
        _quark.set_log_level(level, _emit)
