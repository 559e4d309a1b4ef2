"""Every Redis key. One partition for now; its tag is in each key, so that a cluster needs no renaming."""

from collections.abc import Sequence
from urllib.parse import quote, unquote

TAG = "qf:{p0}"
MARKER = f"{TAG}:meta"
JOURNAL = f"{TAG}:journal"
RUNNING = f"{TAG}:running"
DUE = f"{TAG}:due"
CANCELS = f"{TAG}:cancels"
QUOTAS = f"{TAG}:quotas"
REQUESTS = f"{TAG}:requests"
RESERVED = f"{TAG}:reserved"
REFRESH = f"{TAG}:refresh"
INSTANCES = "qf:instances"

_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"


def encode_id(text: str) -> str:
    """Percent-encode outside [A-Za-z0-9_.-]: two ids never share a key, and no id can reach a hash tag."""
    if _is_plain(text):
        return text
    # quote() leaves "~" alone; it is outside the alphabet. A name that is no text has no quota: it need not be refused.
    return quote(text, safe="", errors="surrogatepass").replace("~", "%7E")


def encode_ids(texts: Sequence[str]) -> Sequence[str]:
    """Encode many ids with one look at them."""
    return texts if _is_plain("".join(texts)) else [encode_id(text) for text in texts]


def _is_plain(text: str) -> bool:
    return not text.encode("utf-8", "surrogatepass").translate(None, _PLAIN)


def quota(quota_id: str) -> str:
    """Hash: the definition and its counters."""
    return f"{TAG}:quota:{encode_id(quota_id)}"


def level(quota_id: str) -> str:
    """Return the string `<level in micro-units> <at_us>`'s key."""
    return f"{TAG}:level:{encode_id(quota_id)}"


def refused(quota_id: str) -> str:
    """Stream: the newest 1,000 refusals."""
    return f"{TAG}:refused:{encode_id(quota_id)}"


def bucket(quota_id: str) -> tuple[str, str, str]:
    """Return the three keys that a script needs to charge a quota."""
    encoded = encode_id(quota_id)
    return f"{TAG}:quota:{encoded}", f"{TAG}:level:{encoded}", f"{TAG}:refused:{encoded}"


def task(task_id: str) -> str:
    """Hash: the cursor, and what people said: paused, skip, rate."""
    return f"{TAG}:task:{encode_id(task_id)}"


def run(run_id: str) -> str:
    """Hash: an admitted run."""
    return f"{TAG}:run:{run_id}"


def task_slots(task_id: str) -> str:
    """Zset: which runs of a task hold one of its slots."""
    return f"{TAG}:slots:task:{encode_id(task_id)}"


def paced(task_id: str) -> str:
    """Set: the runs of a task that wait for their turn by its rate."""
    return f"{TAG}:paced:{encode_id(task_id)}"


def quota_slots(quota_id: str) -> str:
    """Zset: who holds one of a quota's slots."""
    return f"{TAG}:slots:quota:{encode_id(quota_id)}"


def lease(duty: str) -> str:
    """Return the key of a duty's holder."""
    return f"{TAG}:lease:{duty}"


def returned(call_id: str) -> str:
    """Return the key that remembers that units were given back."""
    return f"{TAG}:returned:{call_id}"


def lane(instance_id: str, number: int) -> str:
    """Return the key where a lane's last reply is kept."""
    return f"{TAG}:lane:{instance_id}:{number}"


def allowance(subject: str) -> str:
    """Hash: what a token or a prepaid quota has."""
    return f"{TAG}:allowance:{encode_id(subject)}"


def prepaid(quota_id: str) -> tuple[str, str, str]:
    """Return the keys that stand for `bucket` where the quota is prepaid."""
    encoded = encode_id(quota_id)
    return f"{TAG}:quota:{encoded}", f"{TAG}:allowance:{encoded}", f"{TAG}:refused:{encoded}"


def request(subject: str, request_id: str) -> str:
    """Return the key of a charge's record."""
    return f"{TAG}:request:{encode_id(subject)}:{encode_id(request_id)}"


def upstream(provider: str) -> tuple[str, str, str]:
    """Return the keys of a pool: what its keys are, what they have available, what is reserved of them."""
    keys_of = f"{TAG}:upstream:{encode_id(provider)}"
    return keys_of, f"{keys_of}:balance", f"{keys_of}:held"


def decode_id(text: str) -> str:
    """Return the id that `encode_id` encoded."""
    return unquote(text) if "%" in text else text
