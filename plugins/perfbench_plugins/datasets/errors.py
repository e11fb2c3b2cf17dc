"""What datasets raise. No dataset itself."""


class DatasetError(ValueError):
    """A dataset that cannot be read: says which file or field, and the way out."""
