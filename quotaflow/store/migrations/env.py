"""What Alembic loads to run migrations: it gets the connection and leaves the commit to its owner."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
