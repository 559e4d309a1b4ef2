"""The Chinese texts of the overview, by their English ones."""

from quotaflow.limiter import rpo

OVERVIEW = {
    "This cannot be told now; the banner above says why.": "现在无法获知；原因见上方提示。",
    "Something is wrong:": "出现问题：",
    "Ready: quotas decide, and what they decide is written down.": "就绪：配额正在做决定，决定都会记录下来。",
    "Redis is away or being recovered": "Redis 不可用，或正在恢复",
    "Redis is being recovered or is not reachable": "Redis 正在恢复，或无法连接",
    "try again shortly": "请稍后再试",
    "the journal cannot be written to SQL": "日志无法写入 SQL 数据库",
    "the process is starting": "进程正在启动",
    "the process is stopping": "进程正在停止",
    # a first quota, a first task
    "Begin here": "从这里开始",
    "Make a quota": "新建配额",
    ": how much may be used. The examples below call it external_api.": (
        "：规定可以用多少。下面的例子把它叫作 external_api。"
    ),
    "Declare a task: save this as my_tasks.py, name it in config.toml, and start the daemon again with"
    " “quotaflow run”.": (
        "声明任务：把下面的代码存为 my_tasks.py，写进 config.toml，然后用“quotaflow run”重新启动守护进程。"
    ),
    "Or ask the quota from your own code, inside “async with Quotaflow.open() as qf”:": (
        "或在自己的代码中，在“async with Quotaflow.open() as qf”里向配额申请："
    ),
    # what was decided
    "What was decided": "已做的决定",
    "Nothing was asked of any quota and nothing ran in the last 24 hours.": (
        "最近 24 小时没有配额请求，也没有运行。"
    ),
    "Allowed in the last hour": "最近一小时放行",
    "Limited in the last hour": "最近一小时限制",
    "Failed runs in the last hour": "最近一小时失败的运行",
    "{count} in 24 hours": "24 小时内 {count}",
    "Per minute, 24 hours": "24 小时内每分钟",
    # what runs out, what runs next
    "Quotas near their end": "即将用完的配额",
    "it is used up": "已用完",
    "in {span}": "{span} 后",
    "now": "现在",
    "not within a day": "一天内不会用完",
    "{count} more are near their end": "还有 {count} 个即将用完",
    "None is below a fifth, and none is known to run out within a day.": (
        "没有：余量都在五分之一以上，也没有预计一天内用完的配额。"
    ),
    "Next runs": "接下来的运行",
    "No task has a schedule, or all of them are paused.": "没有任务有时间表，或者都已暂停。",
    # what waits
    "What waits": "等待情况",
    "Oldest decision not yet in SQL": "最早的尚未写入 SQL 的决定",
    "more than some seconds: SQL is too slow, or away": "超过几秒说明 SQL 太慢或不可用",
    "Decisions not yet in SQL": "尚未写入 SQL 的决定",
    "Levels not yet in SQL": "尚未写入 SQL 的余量",
    "Runs about to start here": "即将在此启动的运行",
    "Runs waiting for their turn": "等待轮到的运行",
    "Calls waiting here": "在此等待的调用",
    "of {cap} at most": "上限 {cap}",
    "Records that SQL refused": "被 SQL 拒绝的记录",
    "they are kept in the table dead_letters": "保存在 dead_letters 表中",
    "Ticks that were claimed twice": "被领取两次的定时运行",
    "Redis had forgotten the first claim": "Redis 丢失了第一次领取",
    # who is there
    "Who is there": "在线的进程",
    "Process": "进程",
    "Role": "角色",
    "Host": "主机",
    "Process number": "进程号",
    "Since": "开始于",
    "Last sign of life": "最近一次心跳",
    "this one": "本进程",
    "silent": "无响应",
    "daemon": "守护进程",
    "library": "程序库",
    # what a crash costs
    "What a crash of Redis can take back": "Redis 崩溃可能丢失什么",
    "Redis has not told yet.": "Redis 尚未告知。",
    rpo.NO_CRASH: "进程崩溃不会丢失任何审计记录；只要磁盘真正执行 fsync，断电也不会",
    rpo.SECONDS: (
        "Redis 崩溃通常不丢数据，最多 2 秒；断电约 1 秒，最多 2 秒加一次 fsync；"
        "Redis 落后于 SQL 时会被发现并修复，绝不会因此重新发放额度；"
        "崩溃前最后一段写入延迟内已确认的内容可能丢失"
    ),
    rpo.HALF_A_MINUTE: "断电会丢失约 30 秒的数据",
    rpo.EVERYTHING: "Redis 重启会丢失上次快照以来的一切；余额和定义由 SQL 恢复",
    rpo.UNKNOWN: "无法得知 Redis 多久同步到磁盘（CONFIG GET 被拒绝）；请询问其管理员",
}
