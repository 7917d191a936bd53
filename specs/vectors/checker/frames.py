"""Pages 03, 04, 05 and 08: messages in their envelope, with a reader and writer of CBOR (RFC 8949)."""

from .base import Wrong, equal, need
from .curve import valid_key


class Reader:
    """Definite lengths, shortest forms, no tags, text as keys: what frames are made of."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "malformed")
        self.at += count
        return self.data[self.at - count : self.at]

    def item(self, depth=0):
        need(depth < 12, "malformed")
        first = self.take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            need(info in (20, 21), "malformed")
            return info == 21
        argument = info
        if info >= 24:
            need(info <= 27, "malformed")
            size = 1 << info - 24
            argument = int.from_bytes(self.take(size), "big")
            need(argument >= (24 if size == 1 else 1 << size * 4), "malformed")
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return {"bytes": self.take(argument).hex()}
        if major == 3:
            return self.take(argument).decode("utf-8")
        if major == 4:
            return [self.item(depth + 1) for _ in range(argument)]
        need(major == 5, "malformed")
        result = {}
        for _ in range(argument):
            key = self.item(depth + 1)
            need(isinstance(key, str) and key not in result, "malformed")
            result[key] = self.item(depth + 1)
        return result


def read_cbor(data):
    reader = Reader(data)
    value = reader.item()
    need(reader.at == len(data), "trailing")
    return value


def write_head(major, argument):
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + argument.to_bytes(size, "big")
    raise Wrong("number is too large")


def write_cbor(value, kind=None):
    """As a sender writes: definite lengths, shortest forms, fields in the order of the tables."""
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return write_head(0, value)
    if isinstance(value, str):
        return write_head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        inner = kind.item if isinstance(kind, Items) else None
        return write_head(4, len(value)) + b"".join(write_cbor(item, inner) for item in value)
    if isinstance(kind, Fields):
        pairs = [(name, value[name], inner) for name, inner in kind.known.items() if name in value]
        head = write_head(5, len(pairs))
        return head + b"".join(write_cbor(name) + write_cbor(inner, type_) for name, inner, type_ in pairs)
    data = bytes.fromhex(value["bytes"])
    return write_head(2, len(data)) + data


def unsigned(bits):
    return lambda value, later: isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << bits


def text(most):
    return lambda value, later: isinstance(value, str) and len(value.encode()) <= most


def line(most):
    """Names, notes and reasons; these vectors have none that a reader would change."""
    return lambda value, later: isinstance(value, str) and len(value) <= most and len(value.encode()) <= 4 * most


def blob(length):
    return lambda value, later: isinstance(value, dict) and list(value) == ["bytes"] and len(value["bytes"]) == 2 * length


def short_blob(most):
    return lambda value, later: isinstance(value, dict) and list(value) == ["bytes"] and len(value["bytes"]) <= 2 * most


def either(*types):
    return lambda value, later: any(type_(value, later) for type_ in types)


def addresses(value, later):
    return isinstance(value, list) and len(value) <= 8 and all(text(200)(item, later) for item in value)


def word(*words):
    return lambda value, later: value in words or (later and text(32)(value, later))


def boolean(value, later):
    return isinstance(value, bool)


def candidates(value, later):
    return isinstance(value, list) and len(value) <= 16 and all(text(256)(item, later) for item in value)


class Items:
    """A list; items that are maps are written in the order of their table."""

    def __init__(self, most, item):
        self.most, self.item = most, item

    def __call__(self, value, later):
        return isinstance(value, list) and len(value) <= self.most and all(self.item(one, later) for one in value)


class Fields:
    """A map; names that end in "_may" may be absent. Fields of later versions are let through if `later`."""

    def __init__(self, **types):
        self.known = {name.removesuffix("_may"): type_ for name, type_ in types.items()}
        self.required = {name for name in types if not name.endswith("_may")}

    def __call__(self, value, later):
        return (
            isinstance(value, dict)
            and self.required <= set(value)
            and (later or set(value) <= set(self.known))
            and all(self.known[name](inner, later) for name, inner in value.items() if name in self.known)
        )


def preflight(body):
    return Fields(id=blob(16), body=body)


def about_a_call(**body):
    return Fields(call=blob(16), participant=unsigned(16), body=Fields(**body))


AVAILABILITY = word("available", "dnd", "invisible")
ENDPOINTS = Items(4, text(64))
CREDENTIAL = Fields(user=text(64), password=text(64))
CALL_RELAY = Fields(
    udp_may=ENDPOINTS, tls_may=ENDPOINTS, certificate=blob(32), user=text(64), password=text(64), lifetime=unsigned(32)
)
DESCRIPTION = Fields(
    kind=word("offer", "answer"), generation=unsigned(32), fingerprint=blob(32), sdp=text(16384), more_may=text(4096)
)
FILE_OFFER = Fields(id=blob(16), name=line(128), size=unsigned(64), hash=blob(32), paused_may=boolean)
FILE_WORD = word("offered", "accepted", "paused", "declined", "done", "cancelled", "failed")
FILE_ANSWER = Fields(id=blob(16), word=FILE_WORD, done_may=unsigned(64), reason_may=line(140))
FILE_END = Fields(id=blob(16), cancelled_may=boolean, reason_may=line(140))
SIDE = Fields(description=DESCRIPTION, candidates_may=candidates, relays_may=Items(4, CALL_RELAY))
KINDS = {
    "open": Fields(session=unsigned(64), first=unsigned(64), of=unsigned(64), received=unsigned(64)),
    "ack": Fields(),
    "ping": Fields(id=unsigned(64)),
    "pong": Fields(id=unsigned(64)),
    "bye": Fields(reason=word("stopping", "replaced", "removed", "fault")),
    "unsupported": Fields(kind=text(32)),
    "hello": Fields(protocol=unsigned(16), name_may=line(64), availability=AVAILABILITY, granted_may=unsigned(64)),
    "presence": Fields(availability=AVAILABILITY),
    "profile": Fields(name=line(64)),
    "grant": Fields(slot_public=blob(32), secret=blob(32), generation=unsigned(64)),
    "grant.stored": Fields(generation=unsigned(64)),
    "whereabouts": Fields(
        peer=short_blob(64), direct_may=addresses, lan_may=addresses, relayed_may=addresses
    ),
    "friendship": Fields(state=word("accepted", "asked", "removed")),
    "call.invite": about_a_call(
        description=DESCRIPTION, candidates_may=candidates, video_may=boolean, resumes_may=blob(16)
    ),
    "call.ringing": about_a_call(),
    "call.answer": about_a_call(description=DESCRIPTION, candidates_may=candidates),
    "call.candidates": about_a_call(generation=unsigned(32), candidates=candidates),
    "call.accept": about_a_call(video_may=boolean),
    "call.decline": about_a_call(
        reason=word("declined", "busy", "dnd", "unanswered", "elsewhere"), text_may=line(280)
    ),
    "call.leave": about_a_call(
        reason=word("completed", "cancelled", "unanswered", "unreachable", "failed", "gone"), text_may=line(140)
    ),
    "call.state": about_a_call(
        muted_may=boolean, video_may=boolean, screen_may=boolean, held_may=boolean, seat_may=boolean
    ),
    "call.offer": about_a_call(description=DESCRIPTION, candidates_may=candidates),
    "call.record.ask": about_a_call(request=unsigned(32)),
    "call.record.shown": about_a_call(request=unsigned(32)),
    "call.record.allow": about_a_call(request=unsigned(32)),
    "call.record.refuse": about_a_call(request=unsigned(32)),
    "call.record.start": about_a_call(request=unsigned(32)),
    "call.record.stop": about_a_call(request=unsigned(32), text_may=line(140)),
    "call.relays": about_a_call(relays=Items(4, CALL_RELAY)),
    "relay.offer": Fields(
        circuits_may=Items(8, text(200)), udp_may=ENDPOINTS, tls_may=ENDPOINTS, certificate=blob(32)
    ),
    "relay.ask": Fields(id=unsigned(64)),
    "relay.grant": Fields(id=unsigned(64), own=CREDENTIAL, partner=CREDENTIAL, lifetime=unsigned(32)),
    "relay.guest": Fields(
        udp_may=ENDPOINTS, tls_may=ENDPOINTS, certificate=blob(32), own=CREDENTIAL, partner=CREDENTIAL,
        lifetime=unsigned(32),
    ),
    "relay.refuse": Fields(id=unsigned(64), reason=word("off", "busy")),
    "clock.ask": Fields(id=unsigned(64)),
    "clock.tell": Fields(id=unsigned(64), time=unsigned(64)),
    "preflight.offer": preflight(SIDE),
    "preflight.answer": preflight(SIDE),
    "preflight.candidates": preflight(Fields(candidates=candidates)),
    "preflight.refuse": preflight(Fields(reason=word("busy", "often", "failed"))),
    "preflight.report": preflight(
        Fields(packets=unsigned(32), lost=unsigned(32), jitter=unsigned(32), rate_may=unsigned(64))
    ),
    "preflight.end": preflight(Fields()),
    "text": Fields(
        line=unsigned(64), number=unsigned(64), id=blob(16), sent=unsigned(64), text=text(16384), call_may=blob(16)
    ),
    "text.got": Fields(line=unsigned(64), number=unsigned(64)),
    "text.wait": Fields(line=unsigned(64), number=unsigned(64), ms=unsigned(32)),
    "text.read": Fields(line=unsigned(64), number=unsigned(64)),
    "files": Fields(
        offers_may=Items(16, FILE_OFFER), answers_may=Items(16, FILE_ANSWER), ends_may=Items(16, FILE_END)
    ),
    "picture": Fields(hash=either(blob(0), blob(32))),
    "picture.ask": Fields(hash=blob(32), offset=unsigned(32)),
    "picture.part": Fields(hash=blob(32), offset=unsigned(32), size=unsigned(32), bytes=short_blob(8192)),
}
STREAM_KINDS = {
    "file.get": Fields(id=blob(16), offset=unsigned(64), tail=blob(32)),
    "file.data": Fields(offset=unsigned(64)),
    "file.no": Fields(reason=word("closed", "changed", "busy")),
}
CONTACT_KINDS = {
    "request": Fields(id=unsigned(64), name_may=line(64), message_may=line(280), friends_may=boolean),
    "reply": Fields(status=word("pending", "accepted", "declined", "later")),
}
ENVELOPE = Fields(
    v=unsigned(16), k=text(32), n_may=unsigned(64), a_may=unsigned(64),
    b=lambda value, later: isinstance(value, dict) and list(value) == ["bytes"],
)


def read_frame(data, kinds, later):
    need(len(data) <= 32768, "malformed")
    envelope = read_cbor(data)
    need(ENVELOPE(envelope, later), "malformed")
    need(envelope["v"] == 1, "version")
    body = read_cbor(bytes.fromhex(envelope["b"]["bytes"]))
    need(isinstance(body, dict) and (envelope["k"] in kinds or later), "malformed")
    need(envelope["k"] not in kinds or kinds[envelope["k"]](body, later), "malformed")
    return envelope, body


def frame_of(kinds):
    def check(item):
        envelope, body = read_frame(bytes.fromhex(item["hex"]), kinds, False)
        equal(envelope["k"], item["kind"], "kind")
        equal(envelope.get("n"), item.get("sequence"), "sequence")
        equal(envelope.get("a"), item.get("acknowledged"), "acknowledged")
        equal(body, item["body"], "body")
        written = {"v": 1, "k": item["kind"], "n": item.get("sequence"), "a": item.get("acknowledged")}
        written = {name: value for name, value in written.items() if value is not None}
        written["b"] = {"bytes": write_cbor(item["body"], kinds[item["kind"]]).hex()}
        equal(write_cbor(written, ENVELOPE), item["hex"], "frame as a sender writes it")
        if envelope["k"] == "grant":
            valid_key(bytes.fromhex(body["slot_public"]["bytes"]))

    return check


def check_later_frame(item):
    envelope, body = read_frame(bytes.fromhex(item["hex"]), KINDS, True)
    equal(envelope["k"], item["kind"], "kind")
    equal(body, item["body"], "body")


def check_refused_frame(item):
    try:
        read_frame(bytes.fromhex(item["hex"]), KINDS, True)
    except Wrong as wrong:
        return equal(wrong.reason, item["why"], "reason")
    raise Wrong("frame was not refused")
