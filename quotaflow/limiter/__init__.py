"""The room that decides: every Redis key is built here; scripts are assembled, fenced and typed here."""
