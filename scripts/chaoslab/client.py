"""A customer: `python -m chaoslab.client NAME REDIS_URL STORE_URL DATA_DIR SECRETS LOG SEED`.

Everything it is about to ask, and every answer, goes into LOG before the next step, so that a kill loses none of it:
`intent ID TOKEN COST`, `ack ID REMAINING`, `refused ID`, `refunding ID`, `refunded ID AMOUNT`.
"""

import asyncio
import contextlib
import os
import random
import sys
from pathlib import Path

from chaoslab.daemon import RETRY_S, settings_for
from quotaflow import Quotaflow
from quotaflow.errors import Conflict, IdempotencyConflict, NotFound, QuotaflowError
from quotaflow.ledger import Part

WORKERS = 8
GIVE_UP_S = 0.02  # some callers are this impatient


class Customer:
    """Asks for one worker."""

    def __init__(self, name: str, secrets: list[str], log: int, seed: int) -> None:
        self.name = name
        self.secrets = secrets
        self.log = log
        self.random = random.Random(seed)
        self.number = 0
        self.acked: list[tuple[str, str]] = []

    def note(self, *words: object) -> None:
        """Write a line that survives our death."""
        os.write(self.log, (" ".join(map(str, words)) + "\n").encode())

    async def step(self, qf: Quotaflow) -> None:
        """Do one thing."""
        chance = self.random.random()
        if chance < 0.65:
            await self.charge(qf)
        elif chance < 0.75:
            await self.impatient(qf)
        elif chance < 0.85:
            await self.refund(qf)
        elif chance < 0.95:
            await self.reserve(qf)
        else:
            secret = self.random.choice(self.secrets)
            await qf.charges.cancel(qf.tokens.id_of(secret), f"{self.name}-never-{self.number}")

    async def charge(self, qf: Quotaflow) -> None:
        """Charge under an id of our own, and insist until there is an answer."""
        self.number += 1
        request_id = f"{self.name}-{self.number}"
        secret, cost = self.random.choice(self.secrets), self.random.randint(1, 3)
        token_id = qf.tokens.id_of(secret)
        self.note("intent", request_id, token_id, cost)
        while True:
            with contextlib.suppress(QuotaflowError):
                charge = await qf.tokens.consume(secret, cost, request_id=request_id)
                if charge.allowed:
                    self.note("ack", request_id, charge.remaining)
                    self.acked.append((token_id, request_id))
                else:
                    self.note("refused", request_id)
                return
            await asyncio.sleep(self.random.random() * 0.1)

    async def impatient(self, qf: Quotaflow) -> None:
        """Charge without an id, and perhaps walk away."""
        with contextlib.suppress(TimeoutError, QuotaflowError):
            async with asyncio.timeout(self.random.random() * GIVE_UP_S):
                await qf.tokens.consume(self.random.choice(self.secrets), self.random.randint(1, 3))

    async def refund(self, qf: Quotaflow) -> None:
        """Ask twice for one's units back."""
        if not self.acked:
            return
        token_id, request_id = self.acked.pop(self.random.randrange(len(self.acked)))
        self.note("refunding", request_id)
        for _ in range(2):
            with contextlib.suppress(Conflict, NotFound, IdempotencyConflict):
                refund = await qf.charges.refund(token_id, request_id)
                self.note("refunded", request_id, refund.amount)

    async def reserve(self, qf: Quotaflow) -> None:
        """Reserve, work, settle; sometimes the work fails."""
        token_id = qf.tokens.id_of(self.random.choice(self.secrets))
        with contextlib.suppress(ZeroDivisionError, QuotaflowError):
            async with qf.charges.reserve([Part(token_id, 5_000_000)], hold_s=2.0) as held:
                await asyncio.sleep(0.001)
                if self.random.random() < 0.3:
                    raise ZeroDivisionError
                held.settle(self.random.randint(0, 5))


async def work(customer: Customer, qf: Quotaflow) -> None:
    """Go on for ever."""
    while True:
        with contextlib.suppress(QuotaflowError):
            await customer.step(qf)
        await asyncio.sleep(customer.random.random() * 0.01)


async def main() -> None:
    """Run until killed."""
    name, redis_url, store_url, data_dir, secrets, log_path, seed = sys.argv[1:8]
    log = os.open(log_path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    known = Path(secrets).read_text().split()  # noqa: ASYNC240  nothing else runs yet
    customers = [Customer(f"{name}.{number}", known, log, int(seed) + number) for number in range(WORKERS)]
    while True:
        with contextlib.suppress(QuotaflowError, OSError):
            async with Quotaflow.open(settings_for(redis_url, store_url, data_dir)) as qf:
                print("ready", flush=True)
                await asyncio.gather(*[work(customer, qf) for customer in customers])
        await asyncio.sleep(RETRY_S)


if __name__ == "__main__":
    asyncio.run(main())
