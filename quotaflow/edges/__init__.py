"""Where people and programs look in: HTTP and the command line. Thin: parse, call, render."""
