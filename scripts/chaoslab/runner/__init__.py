"""Chaos for the runner: daemons with 200 tasks are killed, frozen and stopped; the bodies' own lines are the truth."""
