"""`scripts/bench schedule | decide`: exit code 0 when every bar is reached, 1 when one is not."""

import argparse
import asyncio
import sys
from pathlib import Path

from benchmarks import decide, schedule


def main() -> int:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="scripts/bench")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("schedule", help="ticks, claims and runs, beside APScheduler and arq")
    command.add_argument("--only", choices=schedule.SCENARIOS, action="append", help="may be repeated")
    decisions = commands.add_parser(
        "decide", help="decisions per second, beside three limiters and a bare EVALSHA"
    )
    for each in (command, decisions):
        each.add_argument(
            "--quick", action="store_true", help="one round of a few seconds each: a look, not a figure"
        )
        each.add_argument("--json", type=Path, metavar="FILE", help="also write everything there")
    command.set_defaults(measure="schedule")
    decisions.set_defaults(measure="decide")
    given = parser.parse_args()
    if given.measure == "decide":
        return decide.run(quick=given.quick, json_file=given.json)
    return asyncio.run(
        schedule.main(given.only or list(schedule.SCENARIOS), quick=given.quick, json_file=given.json)
    )


if __name__ == "__main__":
    sys.exit(main())
