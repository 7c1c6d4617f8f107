"""Datagrams of the Python node, as its own classes made them."""

from __future__ import annotations

import os
import pickle
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
import shoal
from shoal.hyperscale.encryption.aes_gcm import AESGCMFernet, EncryptionError
from vectors import recorded

SECRET = b"research-shared-secret-0123456789"
DATAGRAMS = recorded("datagrams")


def test_recorded_datagrams_are_read() -> None:
    assert len(DATAGRAMS) == 60
    for vector in DATAGRAMS:
        secret, datagram = vector["secret"].encode(), bytes.fromhex(vector["datagram_hex"])
        assert shoal.open(datagram, secret).hex() == vector["frame_hex"]
        read = shoal.parse_datagram(datagram, [b"a secret of before, now unused", secret])
        for name in ("kind", "sender", "handler", "clock"):
            assert getattr(read, name) == vector[name]
        assert read.payload.hex() == vector["payload_hex"]


def test_a_frame_comes_back_from_its_envelope() -> None:
    frame = b"c<127.0.0.1:9003<receive<" + bytes(63) + b"\7\0\0\0\x14probe>127.0.0.1:9001"
    sealed = shoal.seal(frame, SECRET)
    assert sealed != shoal.seal(frame, SECRET)
    assert shoal.open(sealed, [b"another secret, quite long", SECRET]) == frame
    read = shoal.parse_datagram(sealed, SECRET)
    assert (read.name, read.args, read.target, read.clock) == ("probe", [], "127.0.0.1:9001", 7)
    assert (read.members, read.health, read.workers, read.coordinate) == ([], [], [], None)


def test_all_sections_are_read() -> None:
    payload = (
        b"suspect:12>127.0.0.1:9001#|saGVsbG8tc3RhdGU=#|mjoin:0:127.0.0.1:9005:worker"
        b"|bad|suspect:2:127.0.0.1:9007"
        b"#|hDC1-50-0018a3b2c4d5e|manager|healthy|1|8|1.50|2.00|1234.50"
        b"#|ww1:m1:127.0.0.1:9100:9101:registered:3:8:4:55.250000:DC1"
        b'#|v{"vec":[0.001,0,0,0,0,0,0,0],"height":0.5,"adjustment":0,"error":0.25,'
        b'"sample_count":12}'
    )
    frame = b"s<127.0.0.1:9003<receive<" + bytes(64) + len(payload).to_bytes(4, "big") + payload
    read = shoal.parse_datagram(shoal.seal(frame, SECRET), SECRET)
    assert (read.kind, read.name, read.args) == ("reply", "suspect", ["12"])
    assert read.state == b"hello-state"
    assert [tuple(news) for news in read.members] == [
        ("join", 0, "127.0.0.1:9005", "worker"),
        ("suspect", 2, "127.0.0.1:9007", None),
    ]
    assert read.members[0].type == "join"
    assert read.health[0].overload == "healthy"
    assert read.health[0].accepting_work
    assert read.workers[0].tcp_port == 9100
    assert read.workers[0].state == "registered"
    assert read.coordinate is not None
    assert read.coordinate.vec[0] == 0.001
    assert read.coordinate.sample_count == 12


@pytest.mark.parametrize(
    "datagram", [b"", b"short", bytes(44), bytes(70_000), shoal.seal(b"no frame", SECRET)]
)
def test_what_is_no_datagram_is_refused(datagram: bytes) -> None:
    with pytest.raises(shoal.DatagramError) as refusal:
        shoal.parse_datagram(datagram, SECRET)
    assert isinstance(refusal.value, ValueError)


def test_wrong_arguments() -> None:
    with pytest.raises(shoal.ConfigError):
        shoal.seal(b"frame", b"short")
    with pytest.raises(shoal.ConfigError, match="65536"):
        shoal.seal(bytes(65_537), SECRET)
    wrongs: list[Any] = [None, 5, "a secret that is no bytes"]
    for wrong in wrongs:
        with pytest.raises(TypeError):
            shoal.seal(b"frame", wrong)
        with pytest.raises(TypeError):
            shoal.open(wrong, SECRET)


def fernet(secret: str | bytes = SECRET, previous: str | bytes = "") -> AESGCMFernet:
    return AESGCMFernet(
        SimpleNamespace(MERCURY_SYNC_AUTH_SECRET=secret, MERCURY_SYNC_AUTH_SECRET_PREVIOUS=previous)
    )


def test_the_envelope_of_hyperscale() -> None:
    for vector in DATAGRAMS[:5]:
        datagram = bytes.fromhex(vector["datagram_hex"])
        packed = fernet("a secret of now, not then", vector["secret"]).decrypt(datagram)
        assert packed[:4] == b"\x28\xb5\x2f\xfd"
    sealed = fernet().encrypt(b"hello")
    assert pickle.loads(pickle.dumps(fernet("another secret, quite long", SECRET))).decrypt(
        sealed
    ) == (b"hello")
    for wrong in (sealed[:-1], b"", b"short", sealed[:-1] + b"?"):
        with pytest.raises(EncryptionError):
            fernet().decrypt(wrong)
    with pytest.raises(ValueError, match="at least 16"):
        fernet("short")
    with pytest.warns(UserWarning, match="weak"):
        fernet("hyperscale-dev-secret-change-in-prod")


def test_a_child_never_seals_under_its_parents_salt() -> None:
    ours = shoal.seal(b"frame", SECRET)[:16]
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.write(writer, shoal.seal(b"frame", SECRET)[:16])
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reader, 16)
    os.close(reader)
    os.close(writer)
    assert theirs != ours
    assert shoal.seal(b"frame", SECRET)[:16] == ours
