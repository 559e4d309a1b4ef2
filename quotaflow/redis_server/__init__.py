"""The room that keeps Redis: the embedded server and who owns it; the preflight checks of any server."""
