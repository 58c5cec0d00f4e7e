"""`rankloop bench`: measures a version on this machine, and says which settings serve it best."""
