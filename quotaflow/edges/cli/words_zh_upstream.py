"""The Chinese texts about upstream keys, by their English ones."""

UPSTREAM = {
    # commands
    "Upstream keys: keys of other people's services, and what they have left.": (
        "上游密钥：他人服务的 API 密钥及其余额。"
    ),
    "List upstream keys, newest first.": "列出上游密钥，最新的在前。",
    "Store an API key of a service, and ask for its balance.": "保存某服务的 API 密钥，并查询其余额。",
    "Show one upstream key.": "显示一个上游密钥。",
    "Change an upstream key; it acts at once.": "修改上游密钥；立即生效。",
    "Forget an upstream key and its secret.": "删除上游密钥及其密文。",
    "Store the keys of a CSV or JSON file; exit code 1 when some could not be.": (
        "导入 CSV 或 JSON 文件中的密钥；有未能保存的则退出码为 1。"
    ),
    "Ask services for the balances of all keys now; exit code 1 when some did not say.": (
        "立即向各服务查询所有密钥的余额；有未查到的则退出码为 1。"
    ),
    "Encrypt every stored secret under the newest key.": "用最新的密钥重新加密所有已保存的密文。",
    "Make a key for QUOTAFLOW_UPSTREAM__SECRET_KEY; no daemon is asked.": (
        "生成 QUOTAFLOW_UPSTREAM__SECRET_KEY 用的密钥；无需守护进程。"
    ),
    # options
    "Its id, or provider/name": "其 id，或 provider/name",
    "Whose service it is, like tavily": "所属服务，如 tavily",
    "Only this provider": "只看这个服务商",
    "Only this status, as of the last check": "只看这种状态（以上次查询为准）",
    "What people call it; default the key's first and last characters": "名称；默认取密钥的首尾字符",
    "env:NAME, file:/path, or - to read the API key from standard input; default: it is asked for": (
        "env:NAME、file:/path，或 - 从标准输入读取 API 密钥；默认会询问"
    ),
    "env:NAME, file:/path, or - for another API key": "env:NAME、file:/path，或 - 表示另一个 API 密钥",
    "CSV with a header, or JSON; - is standard input": "带表头的 CSV，或 JSON；- 表示标准输入",
    # answers
    "API key": "API 密钥",
    "--secret takes env:NAME, file:/path or -; an API key given here could be seen by others": (
        "--secret 只接受 env:NAME、file:/path 或 -；写在这里的 API 密钥会被他人看到"
    ),
    "no terminal to ask for the API key: give --secret env:NAME, file:/path, or - for standard input": (
        "没有可询问 API 密钥的终端：请给出 --secret env:NAME、file:/path，或 - 表示标准输入"
    ),
    'no upstream key is called "{name}"': "没有名为“{name}”的上游密钥",
    "removed: {name}": "已删除：{name}",
    "{file} cannot be read: {why}": "无法读取 {file}：{why}",
    "{success} keys stored, {failed} rows not": "已保存 {success} 个密钥，{failed} 行未保存",
    "{success} of {total} keys in {seconds} s, {failed} failed": (
        "{total} 个密钥中 {success} 个已查询，用时 {seconds} 秒，{failed} 个失败"
    ),
    "the daemon stopped before the refresh was over": "守护进程在刷新结束前停止了",
    "keys": "密钥",
    # headings
    "provider": "服务商",
    "reserved": "已预留",
    "limit": "上限",
    "checked (UTC)": "查询时刻 (UTC)",
    "error": "错误",
    "row": "行",
}
