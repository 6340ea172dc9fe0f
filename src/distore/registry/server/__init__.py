"""The server around the registry: processes, sockets, TLS, limits, and what operators look at."""
