"""Page 04, "Handshake": Noise XK (revision 34) from its primitives."""

import hashlib
import hmac as hmac_module
import struct

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from .base import equal, named, need
from .curve import clamped_scalar, montgomery, public_of, x25519, x25519_public
from .identity import counts_at, read_certificate


class Symmetric:
    """CipherState and SymmetricState of the Noise specification, revision 34."""

    def __init__(self, prologue):
        name = b"Noise_XK_25519_ChaChaPoly_SHA256"
        self.h = self.ck = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self.key, self.nonce = None, 0
        self.mix_hash(prologue)

    def mix_hash(self, data):
        self.h = hashlib.sha256(self.h + data).digest()

    def expand(self, key_material):
        temp = hmac_module.new(self.ck, key_material, hashlib.sha256).digest()
        one = hmac_module.new(temp, b"\x01", hashlib.sha256).digest()
        return one, hmac_module.new(temp, one + b"\x02", hashlib.sha256).digest()

    def mix_key(self, key_material):
        self.ck, self.key = self.expand(key_material)
        self.nonce = 0

    def seal(self, data):
        sealed = noise_seal(self.key, self.nonce, data, self.h)
        self.nonce += 1
        self.mix_hash(sealed)
        return sealed


def noise_seal(key, number, data, associated):
    return ChaCha20Poly1305(key).encrypt(b"\0\0\0\0" + struct.pack("<Q", number), data, associated)


def check_handshake(item):
    sides = {}
    for name in ("initiator", "responder"):
        given = item[name]
        seed, certificate = bytes.fromhex(given["device_seed"]), bytes.fromhex(given["certificate"])
        fields = read_certificate(certificate)
        counts_at(fields, item["unix_s"])
        equal(fields["root"], given["root"], "root in the certificate")
        equal(fields["device"], public_of(seed), "device in the certificate")
        static, ephemeral = clamped_scalar(seed), bytes.fromhex(given["ephemeral"])
        equal(x25519_public(static), montgomery(fields["device"]), "Montgomery form of the device key")
        sides[name] = {
            "s": static, "S": x25519_public(static), "e": ephemeral, "E": x25519_public(ephemeral),
            "payload": struct.pack(">HQ", 1, given["boot"]) + certificate, "peer": bytes.fromhex(given["peer_id"]),
        }
    i, r = sides["initiator"], sides["responder"]
    need(item["purpose"] in ("link", "contact"), "purpose")
    state = Symmetric(named("handshake", item["purpose"].encode(), i["peer"], r["peer"]))
    state.mix_hash(r["S"])
    # -> e, es
    state.mix_hash(i["E"])
    state.mix_key(x25519(i["e"], r["S"]))
    first = i["E"] + state.seal(b"")
    # <- e, ee
    state.mix_hash(r["E"])
    state.mix_key(x25519(r["e"], i["E"]))
    second = r["E"] + state.seal(r["payload"])
    # -> s, se
    third = state.seal(i["S"])
    state.mix_key(x25519(i["s"], r["E"]))
    third += state.seal(i["payload"])
    equal([m.hex() for m in (first, second, third)], item["messages"], "handshake messages")
    equal(state.h, item["hash"], "handshake hash")
    need(all(16 <= len(message) <= 1120 for message in (first, second, third)), "length of a handshake message")
    keys = dict(zip(("initiator", "responder"), state.expand(b"")))
    numbers = {"initiator": 0, "responder": 0}
    for frame in item["frames"]:
        sender = frame["from"]
        equal(noise_seal(keys[sender], numbers[sender], bytes.fromhex(frame["frame"]), b""), frame["message"], "transport message")
        numbers[sender] += 1
