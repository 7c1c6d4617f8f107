"""Reads datagrams of the Python node's format, independently of Shoal's code.

One JSON object a line on standard input, with `secret` and `datagram_hex`; one a line on standard output,
in the form of `tests/vectors/datagrams.json`. Needs the packages cryptography and zstandard.
"""

import base64
import json
import sys

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

PURPOSE = b"hyperscale-distributed-rewrite-encryption-v1"
SECTIONS = [b"#|v", b"#|w", b"#|h", b"#|m", b"#|s"]
FRAME_SIZE_MAX = 5 << 20


def open_datagram(datagram: bytes, secret: bytes) -> bytes:
    salt, nonce, sealed = datagram[:16], datagram[16:28], datagram[28:]
    key = HKDF(SHA256(), 32, salt, PURPOSE).derive(secret)
    packed = AESGCM(key).decrypt(nonce, sealed, None)
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=FRAME_SIZE_MAX)


def read_member(entry: str) -> dict[str, object]:
    kind, incarnation, host, port, *role = entry.split(":", maxsplit=4)
    return {
        "type": kind,
        "incarnation": int(incarnation),
        "address": f"{host}:{int(port)}",
        "role": role[0] if role else None,
    }


def read_health(entry: str) -> dict[str, object]:
    node, role, overload, accepting, capacity, throughput, expected, timestamp = entry.split("|")
    return {
        "node_id": node,
        "node_type": role,
        "overload": overload,
        "accepting": accepting == "1",
        "capacity": int(capacity),
        "throughput": float(throughput),
        "expected": float(expected),
        "timestamp": float(timestamp),
    }


def read_payload(payload: bytes) -> dict[str, object]:
    found = {}
    for section in SECTIONS:
        payload, mark, content = payload.partition(section)
        if mark:
            found[section] = content
    want: dict[str, object] = {"base": payload.decode()}
    if b"#|s" in found:
        want["state_hex"] = base64.b64decode(found[b"#|s"], validate=True).hex()
    if b"#|m" in found:
        want["members"] = [read_member(entry) for entry in found[b"#|m"].decode().split("|")]
    if b"#|h" in found:
        want["health"] = [read_health(entry) for entry in found[b"#|h"].decode().split(";")]
    if b"#|v" in found:
        want["coordinate"] = json.loads(found[b"#|v"])
    return want


def read(line: str) -> dict[str, object]:
    given = json.loads(line)
    frame = open_datagram(bytes.fromhex(given["datagram_hex"]), given["secret"].encode())
    kind, sender, handler, rest = frame.split(b"<", maxsplit=3)
    length = int.from_bytes(rest[64:68])
    payload = rest[68:]
    if len(payload) != length:
        raise ValueError(f"{length} bytes announced, {len(payload)} came")
    return {
        "kind": {b"c": "request", b"s": "reply"}[kind],
        "sender": sender.decode(),
        "handler": handler.decode(),
        "clock": int.from_bytes(rest[:64]),
        "want": read_payload(payload),
    }


if __name__ == "__main__":
    for given in sys.stdin:
        print(json.dumps(read(given)), flush=True)
