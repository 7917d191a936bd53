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
import json
import sys
from pathlib import Path

from checker import address, frames, handshake, identity, media_frames, public_dht, rendezvous
from checker.base import Wrong, equal, need

HERE = Path(__file__).resolve().parent

CHECKS = {
    "address": {
        "valid": address.check_address,
        "refused": address.refusal_of(address.read_address),
        "refused_uris": address.refusal_of(address.read_uri),
    },
    "identity": {
        "tuples": identity.check_tuple,
        "kdf": identity.check_kdf,
        "roots": identity.check_root,
        "refused_phrases": identity.check_refused_phrase,
        "devices": identity.check_device,
        "refused_keys": identity.check_refused_key,
        "certificates": identity.check_certificate,
        "pairs": identity.check_two_people,
        "store": identity.check_store,
        "files": identity.check_file,
    },
    "rendezvous": {
        "presence": rendezvous.check_presence,
        "pair": rendezvous.check_pair,
        "contact": rendezvous.check_contact,
        "refused": rendezvous.check_refused_record,
    },
    "public-dht": {
        "mirrors": public_dht.check_mirror,
        "refused": public_dht.check_refused,
        "first_keys": public_dht.check_first_key,
    },
    "handshake": {"cases": handshake.check_handshake},
    "messages": {
        "frames": frames.frame_of(frames.KINDS),
        "contact": frames.frame_of(frames.CONTACT_KINDS),
        "streams": frames.frame_of(frames.STREAM_KINDS),
        "later": frames.check_later_frame,
        "refused": frames.check_refused_frame,
    },
    "media-frames": {"good": media_frames.check_good, "bad": media_frames.check_bad},
}

# Not self-tested: descriptions, and in lists of refused things the input itself, which may change and is still refused.
FREE = {"name", "note"}
REFUSED_INPUTS = {"text", "phrase", "key", "record", "record_key", "hex", "bytes"}


def load(name):
    data = json.loads((HERE / f"{name}.json").read_text("utf-8"))
    need(data.pop("version") == 1, "version of the file")
    need((HERE.parent / Path(data.pop("spec")).name).is_file(), "specification of the file")
    equal(sorted(data), sorted(CHECKS[name]), "lists in the file")
    if name == "messages":
        equal(sorted({item["kind"] for item in data["frames"]}), sorted(frames.KINDS), "kinds of frames")
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
        if path[-1] in FREE or (kind.startswith(("refused", "bad")) and path[-1] in REFUSED_INPUTS):
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