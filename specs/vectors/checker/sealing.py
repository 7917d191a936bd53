"""XChaCha20-Poly1305 on top of the library's ChaCha20-Poly1305."""

import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .base import Wrong


def hchacha20(key, nonce):
    state = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key) + struct.unpack("<4I", nonce))

    def rotate(value, by):
        value &= 0xFFFFFFFF
        return (value << by | value >> 32 - by) & 0xFFFFFFFF

    def quarter(a, b, c, d):
        state[a] = state[a] + state[b] & 0xFFFFFFFF
        state[d] = rotate(state[d] ^ state[a], 16)
        state[c] = state[c] + state[d] & 0xFFFFFFFF
        state[b] = rotate(state[b] ^ state[c], 12)
        state[a] = state[a] + state[b] & 0xFFFFFFFF
        state[d] = rotate(state[d] ^ state[a], 8)
        state[c] = state[c] + state[d] & 0xFFFFFFFF
        state[b] = rotate(state[b] ^ state[c], 7)

    for _ in range(10):
        quarter(0, 4, 8, 12), quarter(1, 5, 9, 13), quarter(2, 6, 10, 14), quarter(3, 7, 11, 15)
        quarter(0, 5, 10, 15), quarter(1, 6, 11, 12), quarter(2, 7, 8, 13), quarter(3, 4, 9, 14)
    return struct.pack("<8I", *state[:4], *state[12:])


def xopen(key, nonce, data, associated):
    try:
        cipher = ChaCha20Poly1305(hchacha20(key, nonce[:16]))
        return cipher.decrypt(b"\0\0\0\0" + nonce[16:], data, associated)
    except InvalidTag:
        raise Wrong("sealed bytes do not open") from None
