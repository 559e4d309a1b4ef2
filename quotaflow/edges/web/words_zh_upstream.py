"""The Chinese texts of the pages about upstream keys, by their English ones."""

UPSTREAM = {
    "The API keys with which your tasks use other people's services. Tasks get the key that has the most left; its"
    " service is asked from time to time what that is.": (
        "任务调用外部服务时使用的 API 密钥。任务总是拿到余额最多的密钥；系统会定期向服务查询余额。"
    ),
    "Asked about {done} of {total} keys": "已查询 {done} / {total} 个密钥",
    "{failed} in vain": "{failed} 个失败",
    "Look again": "再看一次",
    "Last refresh": "最近一次刷新",
    "{success} answered, {failed} in vain, in {span}": "成功 {success} 个，失败 {failed} 个，用时 {span}",
    "Keys of which nothing was learnt": "未能查询的密钥",
    "Provider": "服务商",
    "Why nothing was learnt": "失败原因",
    "and {count} more": "还有 {count} 个",
    "Refresh all": "全部刷新",
    "Add a key": "添加密钥",
    "Name": "名称",
    "What you call it; empty for the first and last characters of its secret.": (
        "由你自定；留空则使用密文的首尾字符。"
    ),
    "Secret": "密文",
    "This daemon has no key to encrypt with, so keys are stored as env:NAME or file:/path only. To type them here, set"
    " QUOTAFLOW_UPSTREAM__SECRET_KEY where it starts; “quotaflow upstream new-key” makes one.": (
        "此守护进程没有加密用的密钥，因此只能以 env:NAME 或 file:/路径 的形式保存。要在此直接输入，请在其启动环境中设置"
        " QUOTAFLOW_UPSTREAM__SECRET_KEY（quotaflow upstream new-key 可生成）。"
    ),
    "The API key itself, or where the daemon finds it: env:NAME or file:/path. It is stored encrypted and never"
    " shown.": "API 密钥本身，或守护进程读取它的位置：env:NAME 或 file:/path。加密保存，不会显示。",
    "Add key": "添加密钥",
    "Import many": "批量导入",
    "Keys stored: {success}. Rows not stored: {failed}, because": "已保存 {success} 个密钥；{failed} 行未保存，原因",
    "Rows that are not stored": "未保存的行",
    "Row": "行",
    "Rows, as CSV or JSON": "CSV 或 JSON 数据",
    "CSV begins with a line that names the columns: provider, secret and, if you like, name and enabled. At most 64 kB;"
    " more at once goes with “quotaflow upstream import FILE”.": (
        "CSV 首行为列名：provider、secret，可选 name 和 enabled。最多 64 kB；"
        "更多数据请用“quotaflow upstream import FILE”。"
    ),
    "Import": "导入",
    "What each provider has left": "各服务商余额",
    "Redis cannot be asked now.": "目前无法访问 Redis。",
    "Left": "剩余",
    "Reserved": "已预留",
    "Keys": "密钥",
    "Quotas that mirror it": "镜像它的配额",
    "Refresh": "刷新",
    "No key is in use.": "没有启用的密钥。",
    "any provider": "全部服务商",
    "Status at the last check": "上次检查时的状态",
    "any status": "全部状态",
    "Last checked": "上次检查",
    "Last error": "上次错误",
    "Failures in a row": "连续失败",
    "Rests until": "冷却至",
    "No key is like that.": "没有符合条件的密钥。",
    "There is no key yet. Add the API keys of the services that your tasks use.": (
        "还没有密钥。请添加任务所用服务的 API 密钥。"
    ),
    "The key {name} is stored.": "密钥 {name} 已保存。",
    "Keys stored: {count}. Their services are being asked what they have left.": (
        "已保存 {count} 个密钥；正在向服务查询余额。"
    ),
    "The services are being asked what the keys have left.": "正在向服务查询密钥余额。",
    # one key
    "stored encrypted": "加密保存",
    "Plan": "套餐额度",
    "Used, as its service said last": "已用（服务最近一次返回）",
    "Added": "添加时间",
    "Refresh the keys of {provider}": "刷新 {provider} 的密钥",
    "The key and its secret are forgotten; what is under way with it may end. This cannot be undone.": (
        "密钥及其密文会被清除；正在使用它的调用可以完成。此操作无法撤销。"
    ),
    "Forget it": "确认清除",
    "New secret": "新密文",
    "Leave it empty to keep the secret. With another one everything known of the key begins anew.": (
        "留空则保留原密文。换新密文后，此密钥的已知信息会重新开始。"
    ),
    "The key is enabled.": "密钥已启用。",
    "The key is disabled.": "密钥已停用。",
    "The key {name} is forgotten.": "密钥 {name} 已清除。",
    # what is wrong with what was typed
    "type the secret again: it was not kept": "请重新输入密文：此前的输入未保留",
    "paste the rows again: they were not kept, as they hold secrets": "请重新粘贴：数据包含密文，未保留",
    "this secret is stored already": "此密文已保存过",
    "the text begins like JSON and cannot be read as such": "文本以 JSON 形式开头，但无法解析",
    "columns must be separated by commas, not by semicolons": "列必须用逗号分隔，不能用分号",
    "it is not an object with provider and secret": "不是包含 provider 和 secret 的对象",
    "it has more columns than the first line": "列数多于首行",
}
