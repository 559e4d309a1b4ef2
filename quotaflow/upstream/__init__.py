"""Upstream keys: where their secrets are, and what their services say of their balances."""
