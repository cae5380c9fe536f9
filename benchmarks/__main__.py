"""`python -m benchmarks [SECTION…] [--rounds N] [--json]`: measure, print medians and ratios."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
import warnings

# Before NumPy or torch is imported: one thread for everybody.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_variable] = "1"

SECTIONS = ("lowering", "simulation", "dispatch", "memory", "accuracy", "device")


def main() -> int:
    """Run the sections asked for, all by default."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=main.__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--rounds", type=int, default=15, help="rounds that count (default: 15)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    unknown = [name for name in args.sections if name not in SECTIONS]
    if unknown or args.rounds < 1:
        parser.error(f"there is no section {unknown[0]}" if unknown else "--rounds is at least 1")

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    machine = f"{platform.machine()}, {os.cpu_count()} processors, torch {torch.__version__}, one thread"
    if not args.json:
        print(f"{machine}; {args.rounds} rounds in turns; trust the ratios more than the times\n")
    found = []
    for name in args.sections or SECTIONS:
        for held in importlib.import_module(f"benchmarks.{name}").run(args.rounds):
            found.append(held)
            if not args.json:
                print(held, end="\n\n", flush=True)
    if args.json:
        results = [one.data for one in found]
        print(json.dumps({"machine": machine, "rounds": args.rounds, "results": results}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
