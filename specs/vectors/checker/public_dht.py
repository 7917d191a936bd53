"""Page 02, "The public DHT": slots as IPNS records, keys of first nodes."""

import hashlib
import struct

from .address import read_address
from .base import Wrong, equal, kdf, named, need, u64
from .curve import encode_point, multiply, valid_key, verify
from .frames import write_head
from .identity import root_of
from .rendezvous import blinding_factor, read_body
from .sealing import xopen


def varint(data, at):
    number, shift = 0, 0
    while True:
        need(at < len(data) and shift < 63, "varint")
        number |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            return number, at
        shift += 7


def read_message(record):
    """Signature and data of the protobuf message, which has no other field in what we write."""
    fields, at = {}, 0
    while at < len(record):
        tag, at = varint(record, at)
        need(tag & 7 == 2 and tag >> 3 in (8, 9) and tag >> 3 not in fields, "field of the message")
        length, at = varint(record, at)
        need(at + length <= len(record), "message is cut short")
        fields[tag >> 3] = record[at : at + length]
        at += length
    need(sorted(fields) == [8, 9] and len(fields[8]) == 64, "signature and data")
    return fields[8], fields[9]


def text(value):
    return write_head(3, len(value)) + value.encode("ascii")


def octets(value):
    return write_head(2, len(value)) + value


def data_of(value, sequence, validity):
    """The DAG-CBOR map, byte by byte as page 02 has it."""
    return (
        write_head(5, 5)
        + text("TTL") + write_head(0, 60_000_000_000)
        + text("Value") + octets(value)
        + text("Sequence") + write_head(0, sequence)
        + text("Validity") + octets(validity.encode("ascii"))
        + text("ValidityType") + write_head(0, 0)
    )


def check_signature(key, record):
    need(key[:12] == b"/ipns/\x00\x24\x08\x01\x12\x20" and len(key) == 44, "name")
    signature, data = read_message(record)
    verify(key[12:], b"ipns-signature:" + data, signature)
    return data


def check_mirror(item):
    root, token = read_address(item["address"])
    equal(root_of(bytes.fromhex(item["owner_entropy"])), root, "root in the address")
    need(0 < item["index"] < 4, "index of a contact slot")
    last = (u64(item["epoch"]), bytes([item["index"]]))
    slot = encode_point(multiply(blinding_factor("blind contact", root, token, *last), valid_key(root)))
    key = b"/ipns/\x00\x24\x08\x01\x12\x20" + slot
    equal(key, item["name"], "name")
    seal_key = kdf("seal contact", token, root, *last)
    equal(seal_key, item["seal_key"], "seal key")
    data = check_signature(key, bytes.fromhex(item["record"]))
    # The value's place is fixed by what comes before it: a map of five, TTL with its number, "Value", a length.
    head = write_head(5, 5) + text("TTL") + write_head(0, 60_000_000_000) + text("Value") + write_head(2, 921)
    need(data.startswith(head), "head of the data")
    value = data[len(head) : len(head) + 921]
    equal(data, data_of(value, item["sequence"], item["validity"]), "data")
    need(value[:1] == b"/", "value begins with a slash")
    body = read_body(xopen(seal_key, value[1:25], value[25:], slot + struct.pack(">Q", item["sequence"])))
    for field, expected in item["body"].items():
        equal(body.pop(field), expected, f"body, {field}")
    equal(body, {}, "other fields of the body")


def check_refused(item):
    try:
        check_signature(bytes.fromhex(item["key"]), bytes.fromhex(item["record"]))
    except Wrong:
        return
    raise Wrong("record was not refused")


def check_first_key(item):
    need(0 <= item["index"] < 4, "index")
    digest = hashlib.sha256(named("first nodes", u64(item["day"]), bytes([item["index"]]))).digest()
    equal(b"\x12\x20" + digest, item["multihash"], "multihash")
