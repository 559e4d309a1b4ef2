"""The Chinese texts, by their English ones."""

from quotaflow.edges.cli.words_zh_changes import CHANGES
from quotaflow.edges.cli.words_zh_operators import OPERATORS
from quotaflow.edges.cli.words_zh_prepaid import PREPAID
from quotaflow.edges.cli.words_zh_runs import RUNS
from quotaflow.edges.cli.words_zh_upstream import UPSTREAM

CHINESE = {
    # commands
    "Scheduled and on-demand work under quotas.": "在配额之下执行定时和按需任务。",
    "Run the daemon until SIGTERM or Ctrl-C.": "运行守护进程，直到 SIGTERM 或 Ctrl-C。",
    "Run the daemon with example tasks, watch it work, then check every count.": (
        "用示例任务运行守护进程，观察其工作，最后核对所有计数。"
    ),
    "Show how the daemon is doing.": "显示守护进程的状况。",
    "Show the version.": "显示版本。",
    "Check the servers and files that a daemon would use; nothing is changed.": (
        "检查守护进程要用到的服务器和文件；不做任何改动。"
    ),
    "The schema of the SQL store.": "SQL 存储的表结构。",
    "Bring the store to this version's schema; a daemon does so when it starts.": (
        "把存储升级到本版本的表结构；守护进程启动时会自动完成。"
    ),
    "Show the store's schema version, and the one this program needs.": (
        "显示存储的表结构版本，以及本程序需要的版本。"
    ),
    "Print the statements that make the schema.": "输出建表语句。",
    "Quotas: look, define, change, take units.": "配额：查看、定义、修改、取用。",
    "List all quotas with what they hold.": "列出所有配额及其余量。",
    "Show one quota.": "显示一个配额。",
    "Define a quota; it is in force at once.": "定义配额；立即生效。",
    "Change a quota; it acts at once.": "修改配额；立即生效。",
    "Fill a quota to its capacity.": "把配额补满。",
    "Delete a quota; its history stays.": "删除配额；历史保留。",
    "Take units; exit code 1 when refused, 2 when there never are as many.": "取用单位；被拒绝退出码 1，无法满足 2。",
    "List the keys that have a capacity and rate of their own.": "列出有单独容量和速率的键。",
    "Give one key a capacity and rate of its own.": "给一个键单独的容量和速率。",
    "Give a key the quota's own capacity and rate again.": "让一个键恢复配额自身的容量和速率。",
    "Tasks: look, pause, reschedule, run now.": "任务：查看、暂停、改期、立即运行。",
    "List all tasks with when they run next.": "列出所有任务及下次运行时间。",
    "Show one task.": "显示一个任务。",
    "Pause a task on all daemons.": "在所有守护进程上暂停任务。",
    "Let a paused task run again.": "恢复被暂停的任务。",
    "Run a task by another cron expression; without one, by the code's again.": (
        "改用另一个 cron 表达式；不给出则恢复代码中的表达式。"
    ),
    "Traces: what became of every tick, run and limited call.": "记录：每次触发、运行和受限调用的结果。",
    "List traces, newest first.": "列出记录，最新的在前。",
    "Show one trace.": "显示一条记录。",
    "Show how each task fared over its newest 10,000 runs.": "显示每个任务最近一万次运行的情况。",
    "Show traces as runs end, until Ctrl-C.": "运行结束时即时显示记录，直到 Ctrl-C。",
    "Old rows: remove them now, see when it was done.": "旧记录：立即清理，查看清理情况。",
    "Remove old rows now; the daemon goes on with it by itself.": "立即清理旧记录；守护进程自行完成。",
    "Show how long rows are kept, and when they were and will be removed.": (
        "显示记录保留多久，以及上次和下次清理的时间。"
    ),
    "Remove old rows now, with or without a daemon, also when retention.enabled is false.": (
        "立即清理旧记录，无论有无守护进程，retention.enabled 为 false 时也可以。"
    ),
    # options
    "How long rows are kept; default retention.days": "记录保留多少天；默认 retention.days",
    "Also when retention.enabled is false": "retention.enabled 为 false 时也执行",
    "Language: en or zh; default by LC_ALL and LANG": "语言：en 或 zh；默认取自 LC_ALL 和 LANG",
    "The daemon's config.toml; default ./config.toml": "守护进程的 config.toml；默认 ./config.toml",
    "The daemon's data directory, where http.sock is": "守护进程的数据目录，http.sock 在其中",
    "Ask a daemon at http://host:port instead": "改为访问 http://主机:端口 上的守护进程",
    "For --url; better set in the environment": "与 --url 合用；最好放在环境变量里",
    "A table for people, JSON for programs": "表格给人看，JSON 给程序用",
    "The database that is to read them": "读取这些语句的数据库",
    "End by itself after so many seconds": "若干秒后自行结束",
    "Where everything is kept": "所有数据的存放目录",
    "Where to listen; default 8000, or any free port": "监听端口；默认 8000，被占用时任选空闲端口",
    "Where to listen; 0 takes any free port": "监听端口；0 表示任选空闲端口",
    "The least important level shown": "显示的最低日志级别",
    "One of the quota's many buckets": "配额众多桶中的一个",
    "as the quota again: {name}": "已恢复为配额自身的设置：{name}",
    "The quota's id": "配额的 id",
    "The most it holds, in units": "最大容量，单位数",
    "Units it gains each second": "每秒补充的单位数",
    "What tasks call it; default the id": "任务中使用的名称；默认与 id 相同",
    "Switch it on or off": "启用或停用",
    "Units to take; 0 only looks": "取用的单位数；0 表示只查看",
    "The task's id": "任务的 id",
    "Five fields, or six with seconds first, quoted": "五个字段，或秒在最前的六个字段，加引号",
    "Only this task": "只看这个任务",
    "Only this quota": "只看这个配额",
    "Only this status: ok, failed, limited, ...": "只看这个状态：ok、failed、limited 等",
    "Moment, or how long ago: 90s, 15m, 1h, 7d": "时刻，或多久以前：90s、15m、1h、7d",
    "Words in the error": "错误中的文字",
    "How many at most": "最多多少条",
    "The run's id": "运行的 id",
    # first lines and answers
    "the daemon removes old rows now": "守护进程正在清理旧记录",
    "rows removed: {count}": "已清理行数：{count}",
    "old rows are being removed already": "清理已在进行中",
    "quotaflow is ready: {url} (Ctrl-C stops it)": "quotaflow 已就绪：{url}（Ctrl-C 停止）",
    "look at it in a browser (signs in once, for 10 minutes): {link}": (
        "在浏览器中查看（链接 10 分钟内可登录一次）：{link}"
    ),
    "{url} is quotaflow at work; Ctrl-C stops it and counts": (
        "quotaflow 运行于 {url}；按 Ctrl-C 停止并核对计数"
    ),
    "admin token, for this demo only: {token}": "管理令牌，仅用于本次演示：{token}",
    "admin token, shown only now: {token}": "管理令牌，仅显示这一次：{token}",
    "in another terminal: quotaflow quota list --data-dir {where}": (
        "在另一个终端：quotaflow quota list --data-dir {where}"
    ),
    "deleted: {name}": "已删除：{name}",
    "{found} (this program: {head})": "{found}（本程序：{head}）",
    "none": "无",
    "yes": "是",
    "no": "否",
    # errors and hints
    "no daemon answers at {where} ({why}); start one with: quotaflow run": (
        "{where} 没有守护进程应答（{why}）；请启动：quotaflow run"
    ),
    "{where} is no quotaflow daemon": "{where} 不是 quotaflow 守护进程",
    "a daemon has this store open; it brought it up to date when it started": (
        "守护进程正在使用这个存储；它启动时已完成升级"
    ),
    "unexpected error: {what} (see the log; --log-level debug shows where)": (
        "意外错误：{what}（见日志；--log-level debug 显示位置）"
    ),
    # doctor
    " (two writers could lose a commit in this version; the daemon is the only one)": (
        "（此版本在两个写入者并存时可能丢失提交；守护进程是唯一的写入者）"
    ),
    "let no other program change it; the next daemon sets it right": (
        "不要让其他程序改动它；下次启动守护进程时会改正"
    ),
    "not running; a daemon starts it: {binary}": "未运行；由守护进程启动：{binary}",
    "none yet; the first start makes it": "尚无；首次启动时创建",
    "not there yet; the first start makes it": "尚不存在；首次启动时创建",
    "install the newer quotaflow": "请安装较新的 quotaflow",
    "choose a directory that this user can write": "请选择当前用户可写的目录",
    "choose another data_dir": "请选择另一个 data_dir",
    "{mode}: others can look inside": "{mode}：其他用户可以读取",
    "start it, or correct its address": "请启动它，或改正地址",
    "correct the configuration": "请改正配置",
    # what a crash can cost: limiter/rpo.py
    "no process crash loses an audit row, nor does a power loss if the disk honours fsync": (
        "任何进程崩溃都不会丢失审计记录；只要磁盘如实执行 fsync，断电也不会"
    ),
    "a crash of Redis normally loses nothing, at most 2 s; a power loss about 1 s, up to 2 s plus one fsync;"
    " Redis falling behind SQL is detected and repaired, and tokens are never re-minted by it;"
    " acknowledgements of the last flush lag before the crash can be lost": (
        "Redis 崩溃通常不丢数据，最多 2 秒；断电约丢 1 秒，最多 2 秒加一次 fsync；"
        "Redis 落后于 SQL 会被发现并修复，令牌额度不会因此重新发放；"
        "崩溃前最后一段写入延迟内的确认可能丢失"
    ),
    "a power loss loses about 30 s": "断电约丢失 30 秒",
    "a restart of Redis loses everything since the last snapshot; SQL restores balances and definitions": (
        "Redis 重启会丢失上次快照之后的一切；余额和定义由 SQL 恢复"
    ),
    "how often Redis syncs to disk cannot be seen (CONFIG GET is refused); ask its operator": (
        "无法得知 Redis 多久同步一次磁盘（CONFIG GET 被拒绝）；请询问其管理员"
    ),
    # headings
    "id": "id",
    "name": "名称",
    "remaining": "余量",
    "key": "键",
    "capacity": "容量",
    "refill/s": "每秒补充",
    "enabled": "启用",
    "allowed": "允许",
    "limited": "受限",
    "cron": "cron",
    "quota": "配额",
    "paused": "暂停",
    "last": "上次",
    "next (UTC)": "下次 (UTC)",
    "run": "运行",
    "task": "任务",
    "trigger": "触发",
    "claimed (UTC)": "时刻 (UTC)",
    "status": "状态",
    "ms": "毫秒",
    "why": "原因",
    "runs": "次数",
    "ok": "成功",
    "failed": "失败",
    "skipped": "跳过",
    "missed": "错过",
    "lost": "丢失",
    "p50 ms": "p50 毫秒",
    "p95 ms": "p95 毫秒",
    "what": "项目",
    "found": "结果",
    "what to do": "怎么办",
    "due": "应到",
    "other": "其他",
    "Redis": "Redis",
    "/api/stats": "/api/stats",
    "SQL": "SQL",
    # the demo's summary
    "Decisions of each quota, allowed/limited, as three witnesses have them:": (
        "每个配额的决定（允许/受限），三方计数："
    ),
    "every tick has its trace, and all counts agree": "每次触发都有记录，所有计数一致",
    "the counts differ": "计数不一致",
    **CHANGES,
    **OPERATORS,
    **PREPAID,
    **RUNS,
    **UPSTREAM,
}
