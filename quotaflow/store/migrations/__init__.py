"""Alembic's scripts. They run at start, inside the transaction that `store.migrate` opened."""
