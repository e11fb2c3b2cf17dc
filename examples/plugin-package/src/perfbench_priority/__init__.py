"""An API and a dataset for perfbench. Entry points in pyproject.toml name the classes; nothing registers here."""
