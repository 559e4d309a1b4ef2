"""The HTTP edge: routes, errors as problems, who may come in, and the servers that listen."""
