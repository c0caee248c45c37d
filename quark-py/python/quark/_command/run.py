"""Running one command: every way to end has its exit code, and an error is one line."""

import os
import sys
import traceback
from typing import Optional, Sequence

from .._errors import InvalidArgumentError
from . import failures, output
from .options import Options, UsageError, direct_log, parse

OK = 0
FAILED = 1
USAGE = 2
INTERRUPTED = 130
#: What a shell reports of a program that nobody reads any more.
NOBODY_READS = 141


def run(argv: Optional[Sequence[str]]) -> int:
    """Runs a command and returns its exit code."""
    output.prepare()
    options: Optional[Options] = None
    try:
        try:
            options = parse(sys.argv[1:] if argv is None else argv)
            direct_log(options)
            return options.run(options)
        finally:
            sys.stdout.flush()
    except SystemExit as ended:  # argparse has printed its help.
        return OK if ended.code is None else int(ended.code)
    except UsageError as error:
        return _say(f"{error} (hint: {error.program} --help)", USAGE)
    except KeyboardInterrupt:
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        return NOBODY_READS
    except Exception as error:
        line = failures.line(error, options)
        return _say(line, USAGE if isinstance(error, InvalidArgumentError) else FAILED)
    finally:
        output.finish()


def _say(line: str, code: int) -> int:
    if os.environ.get("QUARK_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    try:
        print(f"quark: {line}", file=sys.stderr, flush=True)
    except OSError:
        pass  # There is nobody to tell.
    return code
