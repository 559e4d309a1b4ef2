"""The Chinese texts of the pages, by their English ones; each page's are in a file of its own."""

from quotaflow.edges.web.words_zh_frame import FRAME
from quotaflow.edges.web.words_zh_operators import OPERATORS
from quotaflow.edges.web.words_zh_overview import OVERVIEW
from quotaflow.edges.web.words_zh_quotas import QUOTAS
from quotaflow.edges.web.words_zh_tasks import TASKS
from quotaflow.edges.web.words_zh_tokens import TOKENS
from quotaflow.edges.web.words_zh_traces import TRACES
from quotaflow.edges.web.words_zh_upstream import UPSTREAM

CHINESE: dict[str, str] = {
    **FRAME,
    **QUOTAS,
    **TOKENS,
    **UPSTREAM,
    **TASKS,
    **TRACES,
    **OVERVIEW,
    **OPERATORS,
}
