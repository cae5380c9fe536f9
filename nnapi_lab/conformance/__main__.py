"""`python -m nnapi_lab.conformance DIR [--op OP] [--engine E] [--json] [--derived]`, for developers."""

from __future__ import annotations

import argparse
import json
import os
import sys

from nnapi_lab.conformance.suite import run_conformance
from nnapi_lab.errors import FormatError
from nnapi_lab.simulate import ENGINES

_SHOWN = 20


def main() -> int:
    """Run, print, and return the exit code: 1 if any example fails, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m nnapi_lab.conformance", description=main.__doc__)
    parser.add_argument("dir", help="folder of vector files, or one file")
    parser.add_argument("--op", help="only cases that test this operation")
    parser.add_argument("--engine", choices=ENGINES, default="reference")
    parser.add_argument("--derived", action="store_true", help="also unknown output sizes and signed twins")
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one each CPU)")
    parser.add_argument("--all", action="store_true", help="print every failure, not only the first ones")
    args = parser.parse_args()
    try:
        report = run_conformance(args.dir, op=args.op, engine=args.engine, derived=args.derived, jobs=args.jobs)
    except FormatError as error:
        print(error, file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(report.to_json(), indent=1))
    else:
        shown = report.failures if args.all else report.failures[:_SHOWN]
        for failure in shown:
            print(f"{failure.file} {failure.name}: {failure.reason}")
        if len(shown) < len(report.failures):
            print(f"… and {len(report.failures) - len(shown)} more failures (--all shows them)")
        print(report.table())
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
