"""Tasks to copy from: `tasks.py` with its `config.toml`, and the small service that they call. `quotaflow demo` runs them."""
