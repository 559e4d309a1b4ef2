"""The Chinese texts of the pages about runs, by their English ones."""

TRACES = {
    "Started by": "触发方式",
    "Waited": "等待",
    "Waits": "正在等待",
    "Ran": "运行时长",
    "Attempt": "尝试次数",
    "Error": "错误",
    "No run fits these conditions.": "没有符合条件的运行。",
    "Show all": "显示全部",
    "Nothing has run yet. Every run of a task appears here within a second or two: whether it ran or was refused, and"
    " why.": "还没有任何运行。任务的每次运行都会在一两秒内出现在这里：运行了还是被拒绝，以及原因。",
    "Filter the runs": "筛选运行",
    "Filter": "筛选",
    "Until this is corrected, all runs are shown.": "更正之前显示所有运行。",
    "For example {one} or {two}. Words without a colon are looked for in errors.": (
        "例如 {one} 或 {two}。不带冒号的词会在错误信息中查找。"
    ),
    "Summary by task": "按任务汇总",
    "Show the summary": "显示汇总",
    "Pause": "暂停",
    "Go on": "继续",
    "Download all that the filter finds, of any number:": "下载筛选出的全部运行，数量不限：",
    "Back to the newest": "返回最新",
    "Older": "更早",
    "Runs in the time that the filter names; of each task the newest 10,000. Other conditions but the task do not"
    " count here.": "筛选条件所指时间内的运行，每个任务最多取最新的 10,000 次。除任务外的其他条件在此不起作用。",
    "The newest 10,000 runs of each task. Add since: to the filter for a shorter time; other conditions but the task do"
    " not count here.": (
        "每个任务最新的 10,000 次运行。在筛选中加上 since: 可缩短时间；除任务外的其他条件在此不起作用。"
    ),
    "Runs": "运行",
    "Succeeded": "成功",
    "Failed": "失败",
    "Half took at most": "半数不超过",
    "95 % took at most": "95 % 不超过",
    "There is no such task.": "没有这个任务。",
    "There is no task yet: a task is a function in your code with a decorator such as @SchedulerTask.": (
        "还没有任务：任务是代码中带有 @SchedulerTask 等装饰器的函数。"
    ),
    # one run
    "Run": "运行",
    "Run of {task}": "{task} 的运行",
    "What helps:": "解决办法：",
    "Cancel the run": "取消运行",
    "The run is cancelled.": "运行已取消。",
    "The run will be stopped within a second.": "运行将在一秒内停止。",
    "What happened": "经过",
    "The steps on a line of time; the table below says the same": "时间线上的各步骤；下表内容相同",
    "From": "从",
    "Until": "到",
    "Took": "用时",
    "How it went": "结果",
    "Due by its schedule": "按计划到期",
    "Claimed": "被领取",
    "claimed:cron": "守护进程按计划领取",
    "claimed:manual": "有人或程序要求运行",
    "claimed:call": "代码调用了它",
    "Attempt {number}": "第 {number} 次尝试",
    "after {moment}": "{moment} 之后",
    "until {moment} at least": "至少到 {moment}",
    "still going on": "仍在进行",
    "for its turn: units of its quota, its rate limit, the start it was asked for, or a free place": (
        "等待轮到它：配额的额度、速率限制、要求的开始时间，或空闲位置"
    ),
    "in line for units of its quota": "排队等待配额的额度",
    "on its way to a free worker": "等待空闲的执行者",
    "Not run": "未运行",
    "Finished": "结束",
    "The quota's decision": "配额的决定",
    "Decision": "决定",
    "there is no such quota now": "现在没有这个配额",
    "Units charged": "扣除额度",
    "It holds now": "当前余量",
    "The task has no quota: nothing was asked for.": "任务没有配额：未申请任何额度。",
    "The run": "本次运行",
    "Started after it was due": "到期后多久开始",
    "Daemon or process": "守护进程或进程",
    "Run id": "运行 id",
    "This run is not recorded yet. A run is written down a second or two after it was asked for; this page then shows"
    " it.": "此运行尚未记录。运行在提出后一两秒内写入；届时本页会显示它。",
    "Look again": "再看一次",
    "No run with this id is recorded. Old runs are removed after a time; the id may also be mistyped.": (
        "没有此 id 的运行记录。旧的运行会在一段时间后删除；也可能是 id 输入有误。"
    ),
    # why it ended so, and what helps
    "It asks for more units than the quota {name} holds when it is full ({capacity}), so it can never run.": (
        "所需额度超过配额 {name} 的容量（{capacity}），因此永远无法运行。"
    ),
    "Raise the capacity on the quota's page, or lower cost in the task's code.": (
        "在配额页面提高容量，或在任务代码中降低 cost。"
    ),
    "The quota {name} had fewer units at that moment than the run asks for.": (
        "当时配额 {name} 的额度少于运行所需。"
    ),
    "A run costs {cost}, and the quota {name} had less than that at that moment.": (
        "一次运行需要 {cost} 额度，当时配额 {name} 的额度不足。"
    ),
    "Give a call more time: max_wait=60 in @LimitCallTask lets it wait in line for units.": (
        "给调用更多时间：@LimitCallTask 中的 max_wait=60 让它排队等待额度。"
    ),
    'Let runs wait for units instead of giving up: on_limit="wait" in the task\'s code.': (
        '让运行等待额度而不是放弃：在任务代码中设置 on_limit="wait"。'
    ),
    "It refills by {rate} per second: what a run costs is back in {time}.": (
        "它每秒补充 {rate}：{time} 后恢复一次运行所需的额度。"
    ),
    "It never refills by itself: its rate is 0.": "它不会自动补充：速率为 0。",
    "Raise its capacity or its rate, or refill it now, on the quota's page.": (
        "在配额页面提高容量或速率，或立即补满。"
    ),
    "Too little was left of the prepaid units of the quota {name}.": "配额 {name} 的预付额度所剩不足。",
    "Recharge it on the quota's page, or wait until its next period begins, if it has periods.": (
        "在配额页面充值；若有周期，也可等下一周期开始。"
    ),
    "The quota {name} was disabled.": "配额 {name} 已停用。",
    "Enable it on the quota's page.": "在配额页面启用它。",
    "There was no quota called {name}.": "当时没有名为 {name} 的配额。",
    "Make a quota with this name on the page of quotas, or correct quota_name in the task's code.": (
        "在配额管理页面创建此名称的配额，或更正任务代码中的 quota_name。"
    ),
    'A task with on_missing="allow" runs without its quota.': (
        '设置 on_missing="allow" 的任务在没有配额时也会运行。'
    ),
    "As many runs and calls as may be at the same time were under way under the quota {name}.": (
        "配额 {name} 下同时进行的运行和调用已达上限。"
    ),
    "Raise how many may be at the same time, on the quota's page.": "在配额页面提高同时进行的数量。",
    'Let runs wait for their turn: on_limit="wait" in the task\'s code.': (
        '让运行等待轮到它：在任务代码中设置 on_limit="wait"。'
    ),
    "As many runs of the task as may be at the same time were still under way.": (
        "同一任务同时进行的运行已达上限。"
    ),
    'Raise max_running in the task\'s code, or let one run wait with overlap="queue(1)".': (
        '在任务代码中提高 max_running，或用 overlap="queue(1)" 让一次运行等待。'
    ),
    "Too many runs were waiting already, so this one could not wait too.": (
        "等待的运行已过多，这一次无法再等待。"
    ),
    "Raise the quota's rate or the task's rate limit, or start the task less often.": (
        "提高配额的速率或任务的速率限制，或降低任务的启动频率。"
    ),
    "It was not started in time: whoever asked for it said until when it was worth starting.": (
        "未能及时开始：提出运行的人指定了最晚开始时间。"
    ),
    "Ask with a longer expires, or see what it waited for.": "提出时设置更长的 expires，或查看它在等待什么。",
    "The task was paused.": "任务已暂停。",
    "Resume it on the task's page.": "在任务页面恢复它。",
    "Somebody asked to leave this one run out.": "有人要求跳过这一次运行。",
    "No daemon was running, or none was free, when it was due; it was noticed too late to run it.": (
        "到期时没有守护进程在运行或有空；发现时已太晚，不再运行。"
    ),
    'Keep a daemon running. misfire="coalesce" in the task\'s code makes up for missed runs with one.': (
        '保持守护进程运行。任务代码中的 misfire="coalesce" 会用一次运行补上错过的运行。'
    ),
    "The setting scheduler.misfire_grace_s says how late a run may still start.": (
        "设置 scheduler.misfire_grace_s 决定运行最晚可以迟到多久。"
    ),
    "The daemon that ran it crashed or was killed.": "运行它的守护进程崩溃或被终止。",
    "rerun_lost=True in the task's code runs such a run again on another daemon.": (
        "任务代码中的 rerun_lost=True 会让另一个守护进程重新运行它。"
    ),
    "The daemon was stopped, and the run did not end in the time it had left.": (
        "守护进程被停止，运行未能在剩余时间内结束。"
    ),
    "The setting runner.shutdown_grace_s says how long a daemon waits for its runs.": (
        "设置 runner.shutdown_grace_s 决定守护进程等待运行多久。"
    ),
    "It was told that its time was up, and ended by itself.": "它被告知时间已到，并自行结束。",
    "Raise soft_time_limit in the task's code if it needs longer.": (
        "如果需要更久，在任务代码中提高 soft_time_limit。"
    ),
    "Somebody cancelled it.": "有人取消了它。",
    "It waits for its turn by the rate limit of the task.": "它因任务的速率限制在等待轮到它。",
    "Change it on the task's page.": "在任务页面修改。",
    "It was asked to start later.": "要求它稍后开始。",
    "Its last attempt failed; it is tried again.": "上一次尝试失败；将再次尝试。",
    "It waits for units of the quota {name}.": "它在等待配额 {name} 的额度。",
    "Refill it on the quota's page.": "在配额页面补满。",
    "It ran longer than its soft time limit and ended with the error that told it so.": (
        "运行超过软时限，并以相应的错误结束。"
    ),
    "It ran longer than its time limit and was stopped.": "运行超过时限，已被停止。",
    "Raise time_limit in the task's code if it needs longer.": "如果需要更久，在任务代码中提高 time_limit。",
    "It was told to stop and does not end.": "已要求它停止，但它没有结束。",
    'isolation="process" in the task\'s code gives it a process that can be killed.': (
        '任务代码中的 isolation="process" 让它在可终止的独立进程中运行。'
    ),
    "Every attempt failed; it is not tried again.": "所有尝试都失败了；不再尝试。",
    "The errors of its attempts are below. Run the task again on its page when the cause is gone.": (
        "各次尝试的错误见下方。原因消除后，可在任务页面再次运行。"
    ),
    "The task's code raised an error; it is below.": "任务的代码抛出了错误，见下方。",
    "retry=Retry(...) in the task's code tries a failed run again.": (
        "任务代码中的 retry=Retry(...) 会重试失败的运行。"
    ),
}

QUERY_ERRORS = (  # of what is typed above the traces
    (r'"(.+)": there is no "(\w+)"', "“{0}”：没有“{1}”"),
    (r"there are (.+)\. Text with a colon needs quotes", "可用的有 {0}。带冒号的文本需要加引号"),
    (r'"(.+)": (\w+) is there twice', "“{0}”：{1} 出现了两次"),
    (r'"(.+)" cannot be read: a value or a closing quote is missing', "无法读取“{0}”：缺少值或右引号"),
    (r'"(.+)": (\w+) is one of (.+)', "“{0}”：{1} 必须是以下之一：{2}"),
    (
        r'"(.+)": (\w+) must be a moment like (\S+), or how long ago, like 90s, 15m, 1h, 7d',
        "“{0}”：{1} 必须是 {2} 这样的时刻，或多久以前，例如 90s、15m、1h、7d",
    ),
    (r'"(.+)": (.+)', "“{0}”：{1}"),
    (r'the run "(.+)" has ended: (\w+)', "运行“{0}”已结束：{1}"),
)
