"""`python -m jepsen_like`: see `cli.main`."""

from __future__ import annotations

import sys

from jepsen_like.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
