"""Page 01: the address (bech32m, BIP-350) and the URI."""

from .base import Wrong, equal, need
from .curve import valid_key


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
