"""The room that carries facts from the Redis stream to SQL: read, fold, write in one transaction, trim."""
