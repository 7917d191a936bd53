"""Page 02: slots, blinding, records."""

import hashlib
import struct

from .address import read_address
from .base import Wrong, equal, kdf, named, need, u64
from .curve import BASE, L, clamped_scalar, encode_point, multiply, public_of, valid_key, verify
from .identity import first_token, friendship_key, read_certificate, root_of, root_seed
from .sealing import xopen


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


def check_slot(item, a_public, a_scalar, blind, seal, phase, period, owner, last=()):
    """Everything that is the same for the three kinds of slots; `last` comes behind the epoch in the tuples."""
    epoch = u64(item["epoch"])
    h = blinding_factor(*blind, epoch, *last)
    slot = encode_point(multiply(h, valid_key(a_public)))
    equal(slot, item["slot_public"], "slot public key")
    equal(encode_point(multiply(h * a_scalar % L, BASE)), slot, "blinded scalar")
    key = hashlib.sha256(slot).digest()
    equal(key, item["record_key"], "record key")
    seal_key = kdf(*seal, epoch, *last)
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
    index = item["index"]
    need(0 <= index < 4, "index of a contact slot")
    last = (bytes([index]),) if index else ()
    check_slot(item, root, a, ("blind contact", root, token), ("seal contact", token, root), ("phase contact", root, token), 86400000, root, last)


def check_refused_record(item):
    try:
        check_record(bytes.fromhex(item["record_key"]), bytes.fromhex(item["record"]))
    except Wrong:
        return
    raise Wrong("record was not refused")
