"""`scripts/bench keys`: what a million buckets of one quota take of Redis' memory."""

from pathlib import Path

from benchmarks.machine import describe
from benchmarks.report import Report
from quotaflow.amounts import MICRO
from quotaflow.limiter import keys
from quotaflow.limiter.decide import lay_out
from quotaflow.limiter.quotas import definition_args
from quotaflow.limiter.scripts import assemble
from quotaflow.model import make_quota
from tests.servers import ValkeyProcess

BATCH = 64


def run(*, quick: bool, json_file: Path | None) -> int:
    """Take one unit of each bucket and ask the server for its memory."""
    count = 100_000 if quick else 1_000_000
    report = Report(describe(), quick)
    quota = make_quota(id="api", capacity=100, refill_rate=0.001)  # full again, and forgotten, after 1,000 s
    with ValkeyProcess() as valkey, valkey.client() as client:
        client.hset(keys.MARKER, "incarnation", "1")
        define = [keys.MARKER, keys.QUOTAS, keys.quota("api"), keys.level("api")]
        client.eval(assemble("define", 1).text, len(define), *define, *definition_args(quota))
        sha = client.script_load(assemble("acquire", 1).text)
        before = client.info("memory")["used_memory"]
        for first in range(0, count, BATCH):
            layout = lay_out(
                [(("api", f"customer-{number}", MICRO),) for number in range(first, first + BATCH)]
            )
            _, script_keys, args = layout.call(keys.lane("bench", 0), first)
            client.evalsha(sha, len(script_keys), *script_keys, *args)
        kept = client.dbsize() - 4
        each = (client.info("memory")["used_memory"] - before) / kept
    report.show("memory of Redis", {f"{kept:,} buckets": {"bytes each": each}})
    report.at_most("keys: bytes of Redis per bucket", each, 160, "bytes")
    report.show_bars()
    if json_file:
        report.write(json_file)
    return 0 if all(bar.kept for bar in report.bars) else 1
