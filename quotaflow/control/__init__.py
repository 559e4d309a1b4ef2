"""Acts that touch more than one room: admit work, close it, change quotas and tasks, recover, count."""
