"""`python -m quotaflow` is the command `quotaflow`."""

from quotaflow.edges.cli.main import main

main()
