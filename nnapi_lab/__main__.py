"""`python -m nnapi_lab` is the command line."""

from __future__ import annotations

import sys

from nnapi_lab.cli import main

if __name__ == "__main__":  # a worker process imports this file again
    sys.exit(main())
