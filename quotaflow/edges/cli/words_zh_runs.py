"""The Chinese texts about runs, by their English ones."""

RUNS = {
    # commands
    "Run a task under its quota, now or later.": "在配额之下运行任务，立即或稍后。",
    "Leave out the next tick of a task, on all daemons.": "跳过任务的下一次触发，对所有守护进程有效。",
    "Let a task start so often, over all daemons; without a rate, as the code says.": (
        "设定任务在所有守护进程上的启动频率；不给频率则按代码。"
    ),
    "End a run, wherever it waits or runs.": "结束一次运行，无论它在等待还是在执行。",
    # options
    "Let it run after all": "还是让它运行",
    "Like 10/s, 100/m, 0.5/h; 0/s is no limit": "如 10/s、100/m、0.5/h；0/s 表示不限",
    "Its arguments as JSON: a list, or an object of names": "参数（JSON）：列表，或按名称的对象",
    "Start in so many seconds": "多少秒后启动",
    "Start at this moment, in ISO 8601": "在此时刻启动（ISO 8601）",
    "Not worth starting after so many seconds": "超过这么多秒就不再启动",
    "End it after so many seconds": "超过这么多秒就结束它",
    "Tell it to end after so many seconds": "超过这么多秒就通知它结束",
    "Runs and calls under way at the same time; 0 is no limit": "同时进行的运行与调用数；0 表示不限",
}
