"""The Chinese texts of the pages about tasks, by their English ones."""

TASKS = {
    "Tasks": "任务",
    "no runs yet": "还没有运行",
    "not declared any more": "代码中已不再声明",
    "(there is no such quota)": "（没有这个配额）",
    "Run now": "立即运行",
    "Resume": "恢复",
    "Pause": "暂停",
    "Skip next": "跳过下一次",
    "Do not skip": "取消跳过",
    "{name}: {count} times, {first} – {last}": "{name}：{count} 次，{first} – {last}",
    "What is due in the next 24 hours": "未来 24 小时的计划",
    "What is due in the next 24 hours, as a picture of the list that follows": (
        "未来 24 小时的计划图，内容与其后的列表相同"
    ),
    "Nothing here is due in the next 24 hours.": "未来 24 小时没有计划运行的任务。",
    "When it runs": "运行时间",
    "Next run": "下次运行",
    "Next runs": "接下来的运行",
    "Last runs": "最近的运行",
    "changed here": "已在此修改",
    "when code calls it": "由代码调用时",
    "when somebody runs it": "由人手动运行时",
    "is skipped": "将跳过",
    "No task has “{text}” in its id or name.": "没有 id 或名称包含“{text}”的任务。",
    "There is no task yet. A task is a Python function under @SchedulerTask or @LimitTask, in a module that the"
    " configuration names under [tasks].": (
        "还没有任务。任务是用 @SchedulerTask 或 @LimitTask 装饰的 Python 函数，其所在模块写在配置的 [tasks] 中。"
    ),
    # one task
    "In the task's zone, {zone}": "任务所在时区（{zone}）",
    "In your zone": "您的时区",
    "In UTC": "UTC",
    "The run was let through; it starts at once.": "已放行，立即开始运行。",
    "The run waits for its turn.": "已进入等待。",
    "It does not start before:": "最早开始时间：",
    "The run was refused: {why}.": "运行被拒绝：{why}。",
    "Asking again is worth it from:": "可在此时间之后重试：",
    "Trace of this run": "这次运行的追踪",
    "Its quota": "它的配额",
    "Runs": "运行次数",
    "Succeeded": "成功",
    "Failed": "失败",
    "Skipped or missed": "跳过或错过",
    "Half took at most": "一半的用时不超过",
    "95 of 100 took at most": "95% 的用时不超过",
    "Counted over its newest 10,000 runs.": "按最近 10,000 次运行统计。",
    "The task is paused: until it is resumed, these are skipped.": "任务已暂停：恢复之前，以下运行都会跳过。",
    "Run with arguments, or later": "带参数运行，或稍后运行",
    "Arguments": "参数",
    "In JSON: a list by position, or names with values. Empty for none.": (
        "JSON 格式：按位置的列表，或名称与值的对象。留空表示没有参数。"
    ),
    "Seconds until it starts": "多少秒后开始",
    "Empty for at once.": "留空表示立即开始。",
    "Run": "运行",
    "Change when it runs": "修改运行时间",
    "Cron expression": "cron 表达式",
    "Minute, hour, day, month, weekday; with six fields the first is seconds. Empty for the one in the code: {cron}": (
        "分、时、日、月、星期；六个字段时第一个是秒。留空则使用代码中的表达式：{cron}"
    ),
    "Show what it means": "查看含义",
    "This means: {words}": "含义：{words}",
    "When it would run": "将会运行的时间",
    "Change how often it may start": "修改启动频率",
    "Rate limit": "速率限制",
    "Like 10/s, 100/m or 0.5/h; 0/s for no limit. Empty for the code's.": (
        "例如 10/s、100/m 或 0.5/h；0/s 表示不限。留空则使用代码中的设置。"
    ),
    "About this task": "关于此任务",
    "Description": "说明",
    "Declared in": "声明于",
    # what was done
    "The task {name} runs by the expression in its code.": "任务 {name} 按代码中的表达式运行。",
    "The task {name} runs by its new expression.": "任务 {name} 按新的表达式运行。",
    "The task {name} has the rate limit of its code.": "任务 {name} 使用代码中的速率限制。",
    "The task {name} has its new rate limit.": "任务 {name} 的新速率限制已生效。",
    "The task {name} has no rate limit now.": "任务 {name} 现在没有速率限制。",
    "The task {name} is paused.": "任务 {name} 已暂停。",
    "The task {name} goes on.": "任务 {name} 已恢复。",
    "The next run of the task {name} is left out.": "任务 {name} 的下一次运行将跳过。",
    "The next run of the task {name} takes place.": "任务 {name} 的下一次运行不再跳过。",
}
