"""Pages for people: rendered here, refreshed by htmx, told by `/api/events` when there is something to look at."""
