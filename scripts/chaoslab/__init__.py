"""Chaos: real servers, real processes, random faults by a seed, and invariants checked from SQL and Redis alone."""
