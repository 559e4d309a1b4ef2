"""Benchmarks against real servers and real peers; `scripts/bench` runs them."""
