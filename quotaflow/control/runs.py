"""Single runs for people: cancel one, wherever it is."""

from quotaflow import facts
from quotaflow.control.acts import note_act
from quotaflow.control.plans import reopening
from quotaflow.errors import Conflict
from quotaflow.limiter.admission import Admission
from quotaflow.model import Reason, Status
from quotaflow.operators import Act, Subject
from quotaflow.store import Store


class RunDesk:
    """Ends runs."""

    def __init__(self, store: Store, admission: Admission) -> None:
        self._store = store
        self._admission = admission

    async def cancel(self, run_id: str, *, actor: str | None = None) -> str:
        """End a run: one that waits is cancelled at once, one that runs by its daemon within a second.

        Returns which it was, `waiting` or `running`.

        :param actor: the person who does this, for the record of changes; None when it is not a person.
        :raises NotFound: no such run, or it began a moment ago and is not written yet.
        :raises Conflict: it has ended.
        """
        row = await self._store.get_trace(run_id)
        ending = f" claimed={row.claimed_us} status={Status.CANCELLED} reason={Reason.CANCELLED}"
        fact = reopening(row._replace(plan=None), kind=facts.CLOSE) + ending
        word = await self._admission.cancel(run_id, row.task_id, row.quota_id, fact)
        if word == "gone":
            raise Conflict(f'the run "{run_id}" has ended: {row.status}')
        held = {"status": word}, {"status": str(Status.CANCELLED)}
        await note_act(self._store, actor, Act.CANCEL, (Subject.RUN, run_id), held, task_id=row.task_id)
        if word == "waiting":  # those behind it move up
            await self._admission.wake(f" task={facts.text_of(row.task_id)} ", "paced")
            if row.quota_id is not None:
                await self._admission.wake(f" quota={facts.text_of(row.quota_id)} ", "line")
        return word
