"""What every check needs: ways to say no, and the tuples of page 01."""

import hashlib
import hmac as hmac_module
import struct

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Wrong(Exception):
    """A vector does not hold, or (while reading something that must be refused) the reason for refusing it."""

    def __init__(self, reason, position=None):
        super().__init__(reason if position is None else f"{reason} at {position}")
        self.reason, self.position = reason, position


def need(condition, reason):
    if not condition:
        raise Wrong(reason)


def equal(got, expected, what):
    if isinstance(got, (bytes, bytearray)):
        got = bytes(got).hex()
    if isinstance(expected, (bytes, bytearray)):
        expected = bytes(expected).hex()
    if got != expected:
        raise Wrong(f"{what}: computed {str(got)[:200]}, the vector says {str(expected)[:200]}")


def tuple_of(label, *parts):
    label = label.encode("ascii")
    out = struct.pack(">B", len(label)) + label
    for part in parts:
        out += struct.pack(">H", len(part)) + part
    return out


def named(label, *parts):
    return tuple_of("twocan/1 " + label, *parts)


def hkdf(key_material, info):
    return HKDF(algorithm=SHA256(), length=32, salt=b"twocan/1", info=info).derive(key_material)


def kdf(label, key_material, *parts):
    return hkdf(key_material, named(label, *parts))


def mac(key, label, *parts):
    return hmac_module.new(key, named(label, *parts), hashlib.sha256).digest()


def u64(number):
    return struct.pack(">Q", number)
