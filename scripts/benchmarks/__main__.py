"""`scripts/bench WHAT`: exit code 0 when every bar is reached, 1 when one is not."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import decide, flush, http, keys, ledger, pages, refresh, schedule

OTHERS: dict[str, tuple[str, Callable[..., int]]] = {
    "decide": ("decisions per second, beside three limiters and a bare EVALSHA", decide.run),
    "flush": ("journal facts into SQL, beside SQLAlchemy's own ways", flush.run),
    "http": ("POST /api/quotas/{id}/acquire under wrk", http.run),
    "ledger": ("charges with the full ledger, a million rows already there", ledger.run),
    "keys": ("memory of Redis for a million buckets", keys.run),
    "pages": ("the pages in a browser, with 10,000 traces and 1,000 quotas", pages.run),
    "refresh": ("balances of 100 and 1,000 upstream keys, beside one key after the other", refresh.run),
}


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    commands = parser.add_subparsers(dest="what", required=True)
    command = commands.add_parser("schedule", help="ticks, claims and runs, beside APScheduler and arq")
    command.add_argument("--only", choices=schedule.SCENARIOS, action="append", help="may be repeated")
    all_of_them = [command, *[commands.add_parser(name, help=text) for name, (text, _) in OTHERS.items()]]
    for each in all_of_them:
        each.add_argument(
            "--quick", action="store_true", help="one round of a few seconds each: a look, not a figure"
        )
        each.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    given = parser.parse_args()
    if given.what != "schedule":
        return OTHERS[given.what][1](quick=given.quick, json_file=given.json)
    return asyncio.run(
        schedule.main(given.only or list(schedule.SCENARIOS), quick=given.quick, json_file=given.json)
    )


if __name__ == "__main__":
    sys.exit(main())
