"""What datasets raise. No dataset itself."""


class DatasetError(ValueError):
    """A dataset that cannot be read: says which file or field, and the way out."""


BEGINNINGS = {
    b"\x1f\x8b": "it is compressed; unpack it (gunzip)",
    b"\x28\xb5\x2f\xfd": "it is compressed; unpack it (zstd -d)",
    b"PK\x03\x04": "it is a zip archive; unpack it",
    b"\xff\xfe": "it looks like UTF-16; convert it (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "it looks like UTF-16; convert it (iconv -f UTF-16 -t UTF-8)",
}


def not_utf8(error: UnicodeDecodeError) -> str:
    """What a file is that is no UTF-8 text, by how it begins; else where it is not."""
    known = next((text for begin, text in BEGINNINGS.items() if error.object.startswith(begin)), "")
    return known or str(error)
