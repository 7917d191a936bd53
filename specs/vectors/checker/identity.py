"""Page 01: phrase, keys, certificates, friendship, safety words, gate tags (03), secrets at rest."""

import hashlib
import struct
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from .base import Wrong, equal, hkdf, kdf, mac, named, need, tuple_of
from .curve import clamped_scalar, montgomery, public_of, valid_key, verify, x25519, x25519_public
from .sealing import xopen


WORDS = (Path(__file__).resolve().parent.parent / "bip39-english.txt").read_text("ascii").split()


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
