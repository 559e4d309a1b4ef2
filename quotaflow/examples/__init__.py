"""Tasks to copy from, with their `config.toml` and the small service that they call. `quotaflow demo` runs them."""
