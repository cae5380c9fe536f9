"""Print what becomes of every model family: lowered, refused and why, or wrong, with the worst difference.

    python scripts/zoo.py [--layout auto|nchw|nhwc] [NAME…]

Exits 1 when anything is wrong. The networks are in tests/zoo.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.zoo.members import MEMBERS
from tests.zoo.trial import Outcome, attempt

COLUMNS = ("family", "network", "layout", "outcome", "worst", "steps", "operations", "TRANSPOSEs", "level", "why")


def table(outcomes: Iterable[Outcome]) -> Table:
    shown = Table(*COLUMNS, box=None, pad_edge=False)
    for one in outcomes:
        lowered = one.verdict != "refused"
        figures = (f"{one.worst:.1e}", "" if one.steps is None else str(one.steps), str(one.operations),
                   str(one.inside), str(one.level))  # fmt: skip
        shown.add_row(one.member.family, one.member.name, one.layout, one.verdict,
                      *(figures if lowered else [""] * 5), one.reason)  # fmt: skip
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="networks or families; all without one")
    parser.add_argument("--layout", action="append", choices=("auto", "nchw", "nhwc"), help="default: auto and nchw")
    options = parser.parse_args()
    torch.set_num_threads(1)
    wanted = [name for name, one in MEMBERS.items() if not options.names or {name, one.family} & set(options.names)]
    cases = [(name, layout) for name in wanted for layout in options.layout or ("auto", "nchw")]
    console = Console(soft_wrap=True, width=None if sys.stdout.isatty() else 400)
    bar = track(cases, "zoo", console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    outcomes = [attempt(name, layout) for name, layout in bar]
    console.print(table(outcomes), markup=False)
    counts = {verdict: sum(one.verdict == verdict for one in outcomes) for verdict in ("lowered", "refused", "WRONG")}
    families = {one.member.family for one in outcomes}
    console.print(f"{len(families)} families, " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return 1 if counts["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
