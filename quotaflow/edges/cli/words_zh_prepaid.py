"""The Chinese texts about access tokens and prepaid units, by their English ones."""

PREPAID = {
    "The provider whose upstream keys' balance an allowance has": "预付配额所镜像的上游密钥提供方",
    # commands
    "Access tokens: make, look, change, recharge, use.": "访问令牌：创建、查看、修改、充值、使用。",
    "List access tokens, newest first.": "列出访问令牌，最新的在前。",
    "Show one access token.": "显示一个访问令牌。",
    "Make an access token; its secret is shown only now.": "创建访问令牌；密钥仅显示这一次。",
    "Change an access token; it acts at once.": "修改访问令牌；立即生效。",
    "Delete an access token; its ledger stays.": "删除访问令牌；账目保留。",
    "Add units to an access token, set what remains, or reset it.": "给访问令牌充值、设定余量或重置。",
    "End an access token now; nothing remains.": "立即终止访问令牌；余量清零。",
    "Show what an access token has left.": "显示访问令牌的余量。",
    "List what changed the units of an access token, newest first.": (
        "列出访问令牌余量的每次变动，最新的在前。"
    ),
    "Write what changed the units of an access token to a file.": "把访问令牌余量的每次变动写入文件。",
    "Take units as a customer does; the secret comes from QUOTAFLOW_ACCESS_TOKEN, or is asked for.": (
        "像客户一样取用单位；密钥取自 QUOTAFLOW_ACCESS_TOKEN，否则会询问。"
    ),
    "Give back what a request was charged, or part of it, once.": "退还一次请求所扣的全部或部分，仅一次。",
    "Show what became of a request id.": "显示一个请求 id 的结果。",
    "Add units to a prepaid quota, set what remains, or reset it.": "给预付配额充值、设定余量或重置。",
    "List what changed the units of a prepaid quota, newest first.": (
        "列出预付配额余量的每次变动，最新的在前。"
    ),
    "Write what changed the units of a prepaid quota to a file.": "把预付配额余量的每次变动写入文件。",
    # options
    "The token's id: tok_...": "令牌的 id：tok_...",
    "The request id of a charge": "扣费的请求 id",
    "Whose it is: a workspace": "归属：工作区",
    "Whose it is: an address": "归属：邮箱地址",
    "What ends it: time, units, or both": "以何终止：时间、单位数，或两者",
    "The units it begins with; not of type time": "起始单位数；time 类型没有",
    "Valid so many days, or so many more": "有效天数，或再延长的天数",
    "Valid until this date or moment": "有效期至此日期或时刻",
    "Valid without end": "永久有效",
    "Requests a minute; 0 removes the limit": "每分钟请求数；0 表示取消限制",
    "Requests at once; default as many as a minute": "瞬时请求数；默认与每分钟相同",
    "Only those switched on, or off": "只看已启用的，或已停用的",
    "Deleted ones too": "包括已删除的",
    "Only this request id": "只看这个请求 id",
    "A shared quota to charge too; may be repeated": "同时扣取的共享配额；可重复给出",
    "Only this action: consume, refund, recharge, ...": "只看这种变动：consume、refund、recharge 等",
    "Before this moment, or how long ago": "早于此时刻，或多久以前",
    "CSV for spreadsheets, a JSON object a line": "CSV 供电子表格用，或每行一个 JSON 对象",
    "The file to write": "要写入的文件",
    "Of an allowance: the units it begins with": "预付配额的起始单位数",
    'Of an allowance: when it has its total again; "" never': '预付配额何时恢复总量；"" 表示从不',
    "Of --reset-cron, like Asia/Shanghai": "--reset-cron 的时区，如 Asia/Shanghai",
    "Units": "单位数",
    "add (default), set what remains, or reset": "add 充值（默认）、set 设定余量，或 reset 重置",
    "With the same one it happens once": "相同 id 只执行一次",
    "A bucket refills by itself, an allowance is prepaid": "bucket 自动补充，allowance 为预付",
    # answers
    "The secret is shown only now and kept nowhere: give it to its owner.": (
        "密钥仅显示这一次，不作任何保存：请交给使用者。"
    ),
    "Access token": "访问令牌",
    "this is not an access token; one begins with qf_ and has 54 characters": (
        "这不是访问令牌；访问令牌以 qf_ 开头，共 54 个字符"
    ),
    "{count} rows in {file}": "{file} 共 {count} 行",
    "rows": "行",
    "{file} cannot be written: {why}": "无法写入 {file}：{why}",
    # ledger
    "The ledger of prepaid units.": "预付单位的账本。",
    "Check every chain, every sum, and Redis against SQL.": "检查每条链、每个合计，并将 Redis 与 SQL 对照。",
    "{rows} rows of {subjects} tokens and quotas: {found} differences": (
        "{subjects} 个令牌和配额的 {rows} 行：{found} 处差异"
    ),
    "{rows} rows": "{rows} 行",
    "subject": "对象",
    "what": "项目",
    "detail": "详情",
    "Cancel a request: what it was charged goes back, and a late command is refused.": (
        "取消请求：已扣的退回，迟到的命令被拒绝。"
    ),
    # headings
    "at (UTC)": "时间 (UTC)",
    "action": "变动",
    "before": "之前",
    "change": "变化",
    "after": "之后",
    "request": "请求",
    "by": "操作者",
    "succeeded": "成功",
    "token": "令牌",
    "workspace": "工作区",
    "email": "邮箱",
    "type": "类型",
    "total": "总量",
    "expires (UTC)": "到期 (UTC)",
    "active": "启用",
}
