"""What a crash can take back of what was acknowledged, by how the server keeps its data; measured, see README."""

NO_CRASH = "no process crash loses an audit row, nor does a power loss if the disk honours fsync"
SECONDS = (
    "a crash of Redis normally loses nothing, at most 2 s; a power loss about 1 s, up to 2 s plus one fsync;"
    " Redis falling behind SQL is detected and repaired, and tokens are never re-minted by it;"
    " acknowledgements of the last flush lag before the crash can be lost"
)
HALF_A_MINUTE = "a power loss loses about 30 s"
EVERYTHING = (
    "a restart of Redis loses everything since the last snapshot; SQL restores balances and definitions"
)
UNKNOWN = "how often Redis syncs to disk cannot be seen (CONFIG GET is refused); ask its operator"

_BY_FSYNC = {"always": NO_CRASH, "everysec": SECONDS, "no": HALF_A_MINUTE}
TEXTS = (*_BY_FSYNC.values(), EVERYTHING, UNKNOWN)


def rpo(*, appendonly: bool, appendfsync: str | None) -> str:
    """Return it in a sentence. `appendfsync` is None when the server does not tell."""
    return _BY_FSYNC.get(appendfsync or "", UNKNOWN) if appendonly else EVERYTHING
