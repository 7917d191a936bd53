"""Page 06, "Media": the header of an encoded frame between node and client."""

import struct

from .base import Wrong, equal, need


def read_frame(data):
    need(len(data) >= 20, "shorter than a header")
    kind, flags, stream, sequence, timestamp, time_ns = struct.unpack(">BBHIIQ", data[:20])
    need(kind in (1, 2, 3, 4), "unknown kind")
    return {
        "kind": kind,
        "key": bool(flags & 1),
        "gap": bool(flags & 2),
        "restart": bool(flags & 4),
        "red": bool(flags & 8),
        "layer": flags >> 4 & 3,
        "stream": stream,
        "sequence": sequence,
        "timestamp": timestamp,
        "time_ns": str(time_ns),
        "payload": data[20:].hex(),
    }


def check_good(item):
    data = bytes.fromhex(item["bytes"])
    equal(read_frame(data) | {"name": item["name"], "bytes": item["bytes"]}, item, "fields")
    flags = item["key"] | item["gap"] << 1 | item["restart"] << 2 | item["red"] << 3 | item["layer"] << 4
    numbers = item["kind"], flags, item["stream"], item["sequence"], item["timestamp"], int(item["time_ns"])
    equal(struct.pack(">BBHIIQ", *numbers) + bytes.fromhex(item["payload"]), data, "frame as a sender writes it")


def check_bad(item):
    try:
        read_frame(bytes.fromhex(item["bytes"]))
    except Wrong:
        return
    raise Wrong("frame was not refused")
