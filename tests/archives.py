"""Changes of the files of saved models, for tests."""

import copy
import hashlib
import json


def split(data):
    """Return the header, the content in it, and the bytes of the arrays."""
    n_header = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + n_header])
    content = json.loads(header["__metadata__"]["content"])
    return header, content, data[8 + n_header : -32]


def seal(header, content, body):
    """Return the bytes of a file with other content and a valid checksum."""
    header = copy.deepcopy(header)
    header["__metadata__"]["content"] = json.dumps(content)
    return seal_header(header, body)


def seal_header(header, body):
    """Return the bytes of a file with a valid checksum."""
    text = json.dumps(header, separators=(",", ":")).encode()
    data = len(text).to_bytes(8, "little") + text + body
    return data + hashlib.sha256(data).digest()
