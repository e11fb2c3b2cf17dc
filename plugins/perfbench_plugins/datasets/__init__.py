"""Dataset plugins, one dataset (or one family) a file. A new file here that registers a class is a new dataset."""
