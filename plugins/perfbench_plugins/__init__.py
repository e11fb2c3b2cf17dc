"""The plugin engine: the contract of EvalScope's perf plugins, the registry, and the built-in APIs and datasets."""
