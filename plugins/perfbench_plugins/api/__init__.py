"""API plugins, one API a file. A new file here that registers a class is a new API."""
