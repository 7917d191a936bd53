#!/usr/bin/env python3
"""Checks every test vector from the words of the specifications alone.

Nothing of the project's code is used: Python's standard library, and `cryptography` for the primitives that the
specifications name (Ed25519, X25519, ChaCha20-Poly1305, HKDF, HMAC, Argon2id). What is the project's own (tuples,
blinding, bech32m, Noise XK, CBOR) is written here a second time. Exit code 0 means that all vectors hold.

    check.py               check all files beside this one
    check.py --self-test   change every value in them, one at a time, and require that each change is noticed
"""

import copy
import hashlib
import hmac as hmac_module
import json
import struct
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = Path(__file__).resolve().parent


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


# --------------------------------------------------------------------------- 01, Tuples


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


# --------------------------------------------------------------------------- edwards25519 (RFC 8032, section 5.1)

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT_OF_MINUS_ONE = pow(2, (P - 1) // 4, P)
NEUTRAL = (0, 1, 1, 0)


def add(p, q):
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * p[3] * q[3] * D % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def multiply(scalar, point):
    result = NEUTRAL
    while scalar > 0:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def same_point(p, q):
    return (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0


def encode_point(point):
    inverse = pow(point[2], P - 2, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode_point(data):
    """Canonical encodings only."""
    need(len(data) == 32, "length of a point")
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    need(y < P, "y is not reduced")
    square = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P != 0:
        x = x * ROOT_OF_MINUS_ONE % P
    need((x * x - square) % P == 0, "no such point")
    need(x != 0 or sign == 0, "sign of zero")
    if x & 1 != sign:
        x = P - x
    return (x, y, 1, x * y % P)


BASE = decode_point((4 * pow(5, P - 2, P) % P).to_bytes(32, "little"))


def valid_key(data):
    """01, "Public keys": canonical, in the prime-order group, not the neutral element."""
    point = decode_point(data)
    need(not same_point(point, NEUTRAL), "neutral element")
    need(same_point(multiply(L, point), NEUTRAL), "outside the prime-order group")
    return point


def montgomery(key):
    y = int.from_bytes(key, "little") & (1 << 255) - 1
    return ((1 + y) * pow(1 - y, P - 2, P) % P).to_bytes(32, "little")


def clamped_scalar(seed):
    digest = bytearray(hashlib.sha512(seed).digest()[:32])
    digest[0] &= 248
    digest[31] &= 127
    digest[31] |= 64
    return bytes(digest)


def public_of(seed):
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def verify(key, message, signature):
    """Strict: on top of what the library checks, S is reduced, R is canonical and not of small order."""
    valid_key(key)
    need(len(signature) == 64, "length of a signature")
    need(int.from_bytes(signature[32:], "little") < L, "S is not reduced")
    r = decode_point(signature[:32])
    need(not same_point(multiply(8, r), NEUTRAL), "R of small order")
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except InvalidSignature:
        raise Wrong("signature") from None


def x25519(secret, public):
    return X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))


def x25519_public(secret):
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


# --------------------------------------------------------------------------- XChaCha20-Poly1305


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


# --------------------------------------------------------------------------- 01, Phrase and safety words

WORDS = (HERE / "bip39-english.txt").read_text("ascii").split()


def eleven_bits(data, count):
    number = int.from_bytes(data, "big")
    bits = len(data) * 8
    return [number >> bits - 11 * (index + 1) & 0x7FF for index in range(count)]


def phrase_of(entropy):
    data = entropy + hashlib.sha256(entropy).digest()[:1]
    return " ".join(WORDS[index] for index in eleven_bits(data, 24))


def entropy_of(phrase):
    words = phrase.lower().split()
    need(len(words) == 24, "count")
    number = 0
    for position, word in enumerate(words, 1):
        need(word in WORDS, f"word {position}")
        number = number << 11 | WORDS.index(word)
    data = number.to_bytes(33, "big")
    need(hashlib.sha256(data[:32]).digest()[0] == data[32], "checksum")
    return data[:32]


def root_seed(entropy):
    return kdf("root key", entropy)


def root_of(entropy):
    return public_of(root_seed(entropy))


def friendship_key(entropy, other_root):
    shared = x25519(clamped_scalar(root_seed(entropy)), montgomery(other_root))
    return kdf("friendship key", shared, *sorted([root_of(entropy), other_root]))


def safety_words(a, b):
    digest = hashlib.sha256(named("safety words", *sorted([a, b]))).digest()
    return " ".join(WORDS[index] for index in eleven_bits(digest, 6))


def first_token(entropy):
    return kdf("first contact token", entropy)[:8]


def read_certificate(data):
    need(len(data) == 149, "length of a certificate")
    need(data[0] == 1, "version of a certificate")
    fields = {
        "root": data[1:33],
        "device": data[33:65],
        "index": struct.unpack(">I", data[65:69])[0],
        "issued_s": struct.unpack(">Q", data[69:77])[0],
        "expires_s": struct.unpack(">Q", data[77:85])[0],
    }
    valid_key(fields["device"])
    verify(fields["root"], named("certificate", data[:85]), data[85:])
    return fields


def counts_at(certificate, unix_s):
    need(certificate["issued_s"] <= unix_s + 86400, "certificate from the future")
    need(unix_s < certificate["expires_s"], "certificate has expired")


# --------------------------------------------------------------------------- 01, Address (BIP-350)

CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
ADDRESS_LEN = 79


def polymod(values):
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= generator if top >> bit & 1 else 0
    return check


HRP = [ord(c) >> 5 for c in "twocan"] + [0] + [ord(c) & 31 for c in "twocan"]


def checksum_fits(data):
    return len(data) >= 6 and polymod(HRP + [CHARSET.index(c) for c in data]) == 0x2BC830A3


def make_address(payload):
    bits = "".join(f"{byte:08b}" for byte in payload)
    bits += "0" * (-len(bits) % 5)
    values = [int(bits[at : at + 5], 2) for at in range(0, len(bits), 5)]
    check = polymod(HRP + values + [0] * 6) ^ 0x2BC830A3
    values += [check >> 5 * (5 - index) & 31 for index in range(6)]
    return "twocan1" + "".join(CHARSET[value] for value in values)


def find_typo(data):
    """The one slip that explains a wrong checksum, with its position in the address."""
    full = ADDRESS_LEN - 7
    if len(data) == full:
        for at in range(full):
            for symbol in CHARSET:
                if symbol != data[at] and checksum_fits(data[:at] + symbol + data[at + 1 :]):
                    raise Wrong("wrong", at + 8)
        for at in range(full - 1):
            if checksum_fits(data[:at] + data[at + 1] + data[at] + data[at + 2 :]):
                raise Wrong("swapped", at + 8)
    if len(data) == full - 1:
        for at in range(full):
            for symbol in CHARSET:
                if checksum_fits(data[:at] + symbol + data[at:]):
                    raise Wrong("missing", at + 8)
    if len(data) == full + 1:
        for at in range(full + 1):
            if checksum_fits(data[:at] + data[at + 1 :]):
                raise Wrong("extra", at + 8)
    raise Wrong("checksum")


def read_address(text):
    text = text.strip()
    need(text, "empty")
    need(text.lower().startswith("twocan1"), "prefix")
    for position, character in enumerate(text, 1):
        if character.isalpha() and character.isupper() != text[0].isupper():
            raise Wrong("mixed case", position)
    data = text.lower()[7:]
    for position, character in enumerate(data, 8):
        if character not in CHARSET:
            raise Wrong("character", position)
    if not checksum_fits(data):
        find_typo(data)
    bits = "".join(f"{CHARSET.index(c):05b}" for c in data[:-6])
    payload = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))
    need(payload[:1] <= b"\x01", "version")
    need(len(payload) == 41 and payload[0] == 1, "malformed")
    need("1" not in bits[len(payload) * 8 :], "malformed")
    try:
        valid_key(payload[1:33])
    except Wrong:
        raise Wrong("key") from None
    return payload[1:33], payload[33:]


def make_uri(text, hints):
    uri = "twocan:" + text[6:]
    for index, hint in enumerate(hints):
        uri += ("?" if index == 0 else "&") + "hint="
        for byte in hint.encode():
            plain = chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "-._~/:")
            uri += chr(byte) if plain else f"%{byte:02X}"
    return uri


def read_uri(text):
    scheme, _, rest = text.strip().partition(":")
    need(scheme.lower() == "twocan", "scheme")
    body, _, query = rest.partition("?")
    skipped = 7 + len(body) - len(body.lstrip("/"))
    body = body.lstrip("/")
    whole = body.lower().startswith("twocan")
    try:
        address = read_address(body if whole else scheme + body)
    except Wrong as wrong:
        if wrong.position is not None:
            wrong.position += skipped - (0 if whole else 6)
        raise
    hints = []
    for pair in query.split("&"):
        if pair.startswith("hint=") and len(hints) < 3:
            hint, at = bytearray(), 5
            while at < len(pair):
                if pair[at] == "%":
                    hint.append(int(pair[at + 1 : at + 3], 16))
                    at += 3
                else:
                    hint.append(ord(pair[at]))
                    at += 1
            need(hint.startswith(b"/") and len(hint) <= 200 and all(33 <= byte <= 126 for byte in hint), "hint")
            hints.append(hint.decode("ascii"))
    return address, hints


# --------------------------------------------------------------------------- 02, Rendezvous


def blinding_factor(label, *parts):
    return int.from_bytes(hashlib.sha512(named(label, *parts)).digest(), "little") % L


def phase_of(period, label, *parts):
    return int.from_bytes(hashlib.sha256(named(label, *parts)).digest()[:8], "big") % period


def check_record(key, record):
    """What a storing node checks; the sequence."""
    need(len(record) == 1024, "length of a record")
    need(hashlib.sha256(record[:32]).digest() == key, "record at another key")
    verify(record[:32], named("record", key, record[32:40], record[104:]), record[40:104])
    return struct.unpack(">Q", record[32:40])[0]


def read_body(data):
    need(len(data) == 880 and data[0] == 1, "body")
    body = {"certificate": data[1:150], "expires_ms": struct.unpack(">Q", data[150:158])[0]}
    at = 158

    def short():
        nonlocal at
        length = data[at]
        value = data[at + 1 : at + 1 + length]
        need(len(value) == length, "body is cut short")
        at += 1 + length
        return value

    body["peer_id"] = short()
    need(1 <= len(body["peer_id"]) <= 64, "PeerId")
    for kind in ("direct", "lan", "relayed"):
        count = data[at]
        at += 1
        need(count <= 8, "too many addresses")
        body[kind] = [short().decode("ascii") for _ in range(count)]
        need(all(text.startswith("/") and len(text) <= 200 for text in body[kind]), "address")
    need(not any(data[at:]), "padding")
    return body


def check_slot(item, a_public, a_scalar, blind, seal, phase, period, owner):
    """Everything that is the same for the three kinds of slots."""
    epoch = u64(item["epoch"])
    h = blinding_factor(*blind, epoch)
    slot = encode_point(multiply(h, valid_key(a_public)))
    equal(slot, item["slot_public"], "slot public key")
    equal(encode_point(multiply(h * a_scalar % L, BASE)), slot, "blinded scalar")
    key = hashlib.sha256(slot).digest()
    equal(key, item["record_key"], "record key")
    seal_key = kdf(*seal, epoch)
    equal(seal_key, item["seal_key"], "seal key")
    schedule = item["schedule"]
    equal(period, schedule["period_ms"], "period")
    offset = phase_of(period, *phase)
    equal(offset, schedule["phase_ms"], "phase")
    equal((schedule["unix_ms"] + offset) // period, schedule["epoch"], "epoch")
    equal((schedule["epoch"] + 1) * period - offset, schedule["end_ms"], "end of the epoch")
    record = bytes.fromhex(item["record"])
    equal(check_record(key, record), item["sequence"], "sequence")
    body = read_body(xopen(seal_key, record[104:128], record[128:], record[:40]))
    for field, expected in item["body"].items():
        equal(body.pop(field), expected, f"body, {field}")
    equal(body, {}, "other fields of the body")
    certificate = read_certificate(bytes.fromhex(item["body"]["certificate"]))
    equal(certificate["root"], owner, "owner")
    equal(owner, item["owner"], "owner")


def check_presence(item):
    secret, p = bytes.fromhex(item["grant"]["secret"]), bytes.fromhex(item["grant"]["slot_public"])
    seed = bytes.fromhex(item["seed"])
    equal(public_of(seed), p, "slot public key of the grant")
    a = int.from_bytes(clamped_scalar(seed), "little")
    owner = bytes.fromhex(item["owner"])
    check_slot(item, p, a, ("blind presence", p, secret), ("seal presence", secret, p), ("phase presence", p), 3600000, owner)


def check_pair(item):
    entropy, friend = bytes.fromhex(item["owner_entropy"]), bytes.fromhex(item["friend_entropy"])
    root = root_of(entropy)
    key = friendship_key(entropy, root_of(friend))
    equal(key, friendship_key(friend, root), "friendship key from both sides")
    a = int.from_bytes(clamped_scalar(root_seed(entropy)), "little")
    check_slot(item, root, a, ("blind pair", root, key), ("seal pair", key, root), ("phase pair", key, root), 3600000, root)


def check_contact(item):
    entropy = bytes.fromhex(item["owner_entropy"])
    root, token = read_address(item["address"])
    equal(root_of(entropy), root, "root in the address")
    equal(first_token(entropy), token, "token in the address")
    a = int.from_bytes(clamped_scalar(root_seed(entropy)), "little")
    check_slot(item, root, a, ("blind contact", root, token), ("seal contact", token, root), ("phase contact", root, token), 86400000, root)


# --------------------------------------------------------------------------- 04, Handshake: Noise XK


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


# --------------------------------------------------------------------------- the items of each file


def check_tuple(item):
    equal(tuple_of(item["label"], *map(bytes.fromhex, item["parts"])), item["hex"], "tuple")


def check_kdf(item):
    info = tuple_of(item["label"], *map(bytes.fromhex, item["parts"]))
    equal(hkdf(bytes.fromhex(item["key_material"]), info), item["out"], "kdf")


def check_root(item):
    entropy = bytes.fromhex(item["entropy"])
    equal(phrase_of(entropy), item["phrase"], "phrase")
    equal(entropy_of(item["phrase"].upper()), entropy, "entropy of the phrase")
    equal(root_seed(entropy), item["seed"], "seed")
    equal(root_of(entropy), item["public"], "root")
    equal(montgomery(root_of(entropy)), item["montgomery"], "Montgomery form")
    equal(x25519_public(clamped_scalar(root_seed(entropy))), item["montgomery"], "Montgomery form from the secret")
    equal(first_token(entropy), item["first_token"], "first contact token")
    valid_key(root_of(entropy))


def check_refused_phrase(item):
    try:
        entropy_of(item["phrase"])
    except Wrong as wrong:
        return equal(str(wrong), item["reason"], "reason")
    raise Wrong("phrase was not refused")


def check_device(item):
    seed = bytes.fromhex(item["seed"])
    equal(public_of(seed), item["public"], "device public key")
    equal(montgomery(public_of(seed)), item["montgomery"], "Montgomery form")


def check_refused_key(item):
    try:
        valid_key(bytes.fromhex(item["key"]))
    except Wrong:
        return
    raise Wrong("key was not refused")


def check_certificate(item):
    data = bytes.fromhex(item["encoded"])
    fields = read_certificate(data)
    equal(fields["root"], root_of(bytes.fromhex(item["entropy"])), "root")
    equal(fields["device"], public_of(bytes.fromhex(item["device_seed"])), "device")
    for name in ("index", "issued_s", "expires_s"):
        equal(fields[name], item[name], name)
    signer = Ed25519PrivateKey.from_private_bytes(root_seed(bytes.fromhex(item["entropy"])))
    equal(signer.sign(named("certificate", data[:85])), data[85:], "signature")


def check_two_people(item):
    a, b = bytes.fromhex(item["entropy_a"]), bytes.fromhex(item["entropy_b"])
    key = friendship_key(a, root_of(b))
    equal(key, friendship_key(b, root_of(a)), "friendship key from both sides")
    equal(key, item["friendship_key"], "friendship key")
    equal(safety_words(root_of(a), root_of(b)), item["safety_words"], "safety words")
    one, two = bytes.fromhex(item["peer_a"]), bytes.fromhex(item["peer_b"])
    link = kdf("gate link key", key)
    equal(mac(link, "gate tag", one, two), item["link_tag_a_to_b"], "link tag")
    equal(mac(link, "gate tag", two, one), item["link_tag_b_to_a"], "link tag back")
    contact = kdf("gate contact key", first_token(b), root_of(b))
    equal(mac(contact, "gate tag", one, two), item["contact_tag_a_to_b"], "contact tag")


def check_store(item):
    key, context = bytes.fromhex(item["key"]), bytes.fromhex(item["context"])
    sealed = bytes.fromhex(item["sealed"])
    need(sealed[0] == 1, "version of a sealed value")
    plaintext = xopen(key, sealed[1:25], sealed[25:], named("store", b"\x01", context))
    equal(plaintext, item["plaintext"], "plaintext")
    index = mac(kdf("store index key", key), "store index", context, plaintext)
    equal(index, item["index"], "name of an entry")


def check_file(item):
    data = bytes.fromhex(item["file"])
    need(data[:8] == b"twocan\r\n", "magic")
    equal(data[8:9], {"key file": b"k", "backup": b"b"}[item["kind"]], "kind")
    need(data[9] == 1, "version of a file")
    memory, passes, lanes = struct.unpack(">III", data[10:22])
    need(8192 <= memory <= 262144 and 1 <= passes <= 16 and 1 <= lanes <= 4, "parameters")
    kdf_argon = Argon2id(salt=data[22:38], length=32, iterations=passes, lanes=lanes, memory_cost=memory)
    key = kdf_argon.derive(item["passphrase"].encode())
    equal(xopen(key, data[38:62], data[62:], data[:62]), item["plaintext"], "plaintext")


def check_address(item):
    root, token = bytes.fromhex(item["root"]), bytes.fromhex(item["token"])
    equal(make_address(b"\x01" + root + token), item["text"], "address")
    for text in (item["text"], item["text"].upper(), f" {item['text']}\n"):
        equal(read_address(text), (root, token), "address read back")
    equal(make_uri(item["text"], item["hints"]), item["uri"], "URI")
    equal(read_uri(item["uri"]), ((root, token), item["hints"]), "URI read back")


def refusal_of(reader):
    def check(item):
        try:
            reader(item["text"])
        except Wrong as wrong:
            equal(wrong.reason, item["reason"], "reason")
            return equal(wrong.position, item["position"], "position")
        raise Wrong("text was not refused")

    return check


def check_refused_record(item):
    try:
        check_record(bytes.fromhex(item["record_key"]), bytes.fromhex(item["record"]))
    except Wrong:
        return
    raise Wrong("record was not refused")


CHECKS = {
    "address": {
        "valid": check_address, "refused": refusal_of(read_address), "refused_uris": refusal_of(read_uri),
    },
    "identity": {
        "tuples": check_tuple, "kdf": check_kdf, "roots": check_root, "refused_phrases": check_refused_phrase,
        "devices": check_device, "refused_keys": check_refused_key, "certificates": check_certificate,
        "pairs": check_two_people, "store": check_store, "files": check_file,
    },
    "rendezvous": {
        "presence": check_presence, "pair": check_pair, "contact": check_contact, "refused": check_refused_record,
    },
    "handshake": {"cases": check_handshake},
}

# In lists of refused things, the input itself may change and is still refused; these values are not self-tested.
FREE = {"why", "note", "name"}
REFUSED_INPUTS = {"text", "phrase", "key", "record", "record_key", "hex"}


def load(name):
    data = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    need(data.pop("version") == 1, "version of the file")
    need((HERE.parent / Path(data.pop("spec")).name).is_file(), "specification of the file")
    equal(sorted(data), sorted(CHECKS[name]), "lists in the file")
    need(all(data.values()), "an empty list")
    return data


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, path + (key,))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, path + (index,))
    else:
        yield path, value


def changed(value):
    """Some other values of the same kind."""
    if value is None:
        yield 1
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield value * 2 + 1
    elif value == "":
        yield "00"
    else:
        for at in {0, len(value) // 2, len(value) - 1}:
            other = next(c for c in ("0", "1", "x") if c != value[at] and (c != "x" or value[at] in "01"))
            yield value[:at] + other + value[at + 1 :]


def self_test(name, kind, check, item):
    tried = 0
    for path, value in leaves(item):
        if path[-1] in FREE or (kind.startswith("refused") and path[-1] in REFUSED_INPUTS):
            continue
        for other in changed(value):
            mutant = copy.deepcopy(item)
            inner = mutant
            for step in path[:-1]:
                inner = inner[step]
            inner[path[-1]] = other
            try:
                check(mutant)
            except Exception:  # whatever way it is noticed
                tried += 1
                continue
            raise Wrong(f"self-test: {name}.{kind}: a change at {'.'.join(map(str, path))} was not noticed")
    return tried


def main():
    testing = "--self-test" in sys.argv[1:]
    listed = hashlib.sha256((HERE / "bip39-english.txt").read_bytes()).hexdigest()
    failures = 0
    if listed != "2f5eed53a4727b4bf8880d8f3f199efc90e58503646d9ff8eff3a2ed3b24dbda":
        print("FAIL bip39-english.txt is not the BIP-39 list")
        failures += 1
    unknown = {path.stem for path in HERE.glob("*.json")} ^ set(CHECKS)
    if unknown:
        print(f"FAIL files and checks do not match: {', '.join(sorted(unknown))}")
        failures += 1
    for name in sorted(set(CHECKS) - unknown):
        try:
            data = load(name)
        except Exception as error:
            print(f"FAIL {name}.json: {error}")
            failures += 1
            continue
        for kind, items in data.items():
            done, before = 0, failures
            for index, item in enumerate(items):
                try:
                    CHECKS[name][kind](item)
                    done += self_test(name, kind, CHECKS[name][kind], item) if testing else 1
                except Exception as error:
                    print(f"FAIL {name}.{kind}[{index}]: {type(error).__name__}: {error}")
                    failures += 1
            if failures == before:
                print(f"ok   {name}.{kind}: {done} {'changes noticed' if testing else 'vectors'}")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
