"""The command line as ``python -m spotscape``."""

from __future__ import annotations

import sys

from spotscape.cli import main

if __name__ == "__main__":
    sys.exit(main())
