"""``python -m quark`` is the command ``quark``."""

from ._command import main

if __name__ == "__main__":
    raise SystemExit(main())
