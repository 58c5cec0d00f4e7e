"""What the processes must agree on. Does no I/O of its own."""
