"""When work is due: cron expressions, what to do with late moments, and the ticker."""
