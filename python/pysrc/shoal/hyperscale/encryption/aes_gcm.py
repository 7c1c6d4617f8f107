"""The sealed envelope around everything that nodes send each other."""

from __future__ import annotations

import os
import secrets
import warnings
from typing import Any

from shoal._datagram import envelope
from shoal._errors import DatagramError

__all__ = ["AESGCMFernet", "EncryptionError"]

ENCRYPTION_CONTEXT = b"hyperscale-distributed-rewrite-encryption-v1"
MIN_SECRET_LENGTH = 16
SALT_SIZE = 16
NONCE_SIZE = 12
KEY_SIZE = 32
_HEADER_SIZE = SALT_SIZE + NONCE_SIZE
_TAG_SIZE = 16
_NATIVE_SIZE_MAX = 65_507
"""What is larger came over TCP."""
_WEAK = frozenset(
    {
        "hyperscale-dev-secret-change-in-prod",
        "secret",
        "password",
        "changeme",
        "default",
        "test",
        "development",
        "dev",
    }
)


class EncryptionError(Exception):
    """Bytes were not sealed with any of the secrets, or were changed."""


def _checked(secret: str | bytes, name: str) -> bytes:
    """A secret as bytes. A weak one is refused in production and warned of elsewhere."""
    secret_bytes = secret.encode() if isinstance(secret, str) else secret
    if len(secret_bytes) < MIN_SECRET_LENGTH:
        raise ValueError(f"{name} must be at least {MIN_SECRET_LENGTH} characters")
    if secret_bytes.decode(errors="ignore").lower() in _WEAK:
        message = f"{name} is a known weak value; draw one with secrets.token_urlsafe()"
        if os.environ.get("HYPERSCALE_ENV", "").lower() in ("production", "prod"):
            raise ValueError(message)
        warnings.warn(message, UserWarning, stacklevel=4)
    return secret_bytes


class AESGCMFernet:
    """Stands in for `hyperscale.distributed.encryption.aes_gcm.AESGCMFernet`.

    The bytes are the same kind: either side opens what the other sealed. A sender draws its salt
    once and counts its nonces, which spares sealing a key derivation.
    """

    __slots__ = ("_fallback_secret_bytes", "_ring", "_secret_bytes")

    def __init__(self, env: Any) -> None:
        previous = env.MERCURY_SYNC_AUTH_SECRET_PREVIOUS
        self._take(
            _checked(env.MERCURY_SYNC_AUTH_SECRET, "MERCURY_SYNC_AUTH_SECRET"),
            _checked(previous, "MERCURY_SYNC_AUTH_SECRET_PREVIOUS") if previous else None,
        )

    def _take(self, secret: bytes, previous: bytes | None) -> None:
        self._secret_bytes = secret
        self._fallback_secret_bytes = previous
        self._ring = (secret,) if previous is None else (secret, previous)

    def encrypt(self, data: bytes) -> bytes:
        """Seals."""
        return envelope(self._ring).encrypt(data)

    def decrypt(self, data: bytes) -> bytes:
        """Opens with either secret; `EncryptionError` when neither fits."""
        if len(data) > _NATIVE_SIZE_MAX:
            return self._open(data, None)
        try:
            return envelope(self._ring).decrypt(data)
        except DatagramError as error:
            raise EncryptionError(str(error)) from None

    def _cipher(self, salt: bytes, secret: bytes) -> Any:
        # Here and not above: hyperscale needs this package, Shoal does not.
        from cryptography.hazmat.primitives import hashes  # noqa: PLC0415
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

        derivation = HKDF(hashes.SHA256(), KEY_SIZE, salt, ENCRYPTION_CONTEXT)
        return AESGCM(derivation.derive(secret))

    def encrypt_with_aad(self, data: bytes, associated_data: bytes) -> bytes:
        """Seals together with bytes that stay readable and may not change."""
        salt, nonce = secrets.token_bytes(SALT_SIZE), secrets.token_bytes(NONCE_SIZE)
        cipher = self._cipher(salt, self._secret_bytes)
        return salt + nonce + bytes(cipher.encrypt(nonce, data, associated_data))

    def decrypt_with_aad(self, data: bytes, associated_data: bytes) -> bytes:
        """Opens what was sealed together with these bytes."""
        return self._open(data, associated_data)

    def _open(self, data: bytes, associated_data: bytes | None) -> bytes:
        if len(data) < _HEADER_SIZE + _TAG_SIZE:
            raise EncryptionError("the message is too short to be sealed")
        salt, nonce = data[:SALT_SIZE], data[SALT_SIZE:_HEADER_SIZE]
        for secret in self._ring:
            try:
                opened = self._cipher(salt, secret).decrypt(
                    nonce, data[_HEADER_SIZE:], associated_data
                )
            except Exception:
                continue
            return bytes(opened)
        raise EncryptionError("the message was sealed with another secret, or changed")

    def __getstate__(self) -> dict[str, bytes | None]:
        return {
            "_secret_bytes": self._secret_bytes,
            "_fallback_secret_bytes": self._fallback_secret_bytes,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._take(state["_secret_bytes"], state.get("_fallback_secret_bytes"))
