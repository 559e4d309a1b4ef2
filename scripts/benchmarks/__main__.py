"""`scripts/bench schedule`: exit code 0 when every bar is reached, 1 when one is not."""

import argparse
import asyncio
import sys
from pathlib import Path

from benchmarks import schedule


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("schedule", help="ticks, claims and runs, beside APScheduler and arq")
    command.add_argument("--quick", action="store_true", help="one round of a few seconds each: a look, not a figure")
    command.add_argument("--only", choices=schedule.SCENARIOS, action="append", help="may be repeated")
    command.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    given = parser.parse_args()
    return asyncio.run(schedule.main(given.only or list(schedule.SCENARIOS), quick=given.quick, json_file=given.json))


if __name__ == "__main__":
    sys.exit(main())
