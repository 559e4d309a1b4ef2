"""English or Chinese for people; chosen once, before the commands are declared. The log stays English.

The English text is the key. What has no translation is shown in English; a test finds it.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from quotaflow.edges.cli.words_zh import CHINESE

_chosen: dict[str, str] = {}


def choose(arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    """Take `--lang`, else the first of LC_ALL, LC_MESSAGES and LANG that says something."""
    wanted = _flag(arguments) or next(filter(None, map(environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    _chosen.clear()
    if wanted.lower().startswith("zh"):
        _chosen.update(CHINESE)


def say(english: str, **values: object) -> str:
    """Return the text in the language chosen, with its values filled in."""
    text = _chosen.get(english, english)
    return text.format(**values) if values else text


def _flag(arguments: Sequence[str]) -> str:
    for argument, following in pairwise([*arguments, ""]):
        if argument == "--lang":
            return following
        if argument.startswith("--lang="):
            return argument.removeprefix("--lang=")
    return ""
