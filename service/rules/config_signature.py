"""Signatures of config records: who may change what every worker obeys, where a broker's ACLs are not enough.

HMAC-SHA256 (RFC 2104) over the topic, the key's id, the time, the record's key and its value, each with its length,
so that nothing can be moved from one part to the next. The header is `v1 KEY-ID MICROSECONDS HEX`.

What it is worth: whoever writes to the topic without a key changes nothing; a record signed for another
installation, another name, or signed before the one it would replace, is refused, deletions likewise. A worker has
the key it checks with, so it could sign: this guards against other writers, not against Tidegate's host.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from schemas.reasons import Reason, Refused

HEADER: Final = "tidegate-signature"
PATH: Final = f"headers.{HEADER}"
"""What a rejection names as the place of the fault."""
_FORM: Final = re.compile(r"v1 ([^\s]{1,200}) (\d{1,17}) ([0-9a-f]{64})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

Headers = Sequence[tuple[str, bytes | None]]


def sign(key_id: str, secret: bytes, topic: str, key: str, value: bytes | None, signed_at: datetime) -> str:
    """The content of the header for one record; `value` None signs a deletion."""
    micros = (signed_at - _EPOCH) // _MICROSECOND
    return f"v1 {key_id} {micros} {_digest(key_id, secret, topic, key, value, micros)}"


def signature_in(headers: Headers) -> str | None:
    """The header's content as far as it is text; None where there is none, or more than one."""
    found = [value for name, value in headers if name == HEADER]
    if len(found) != 1 or found[0] is None:
        return None
    return found[0].decode("ascii", "replace")


class Signatures:
    """Checks the records of one reading of the config topic, in their order.

    Parameters
    ----------
    topic : str
        Its name on the broker.
    secrets : mapping of str to bytes
        By id. Without any, every record passes, signed or not.
    """

    def __init__(self, topic: str, secrets: Mapping[str, bytes]) -> None:
        self._topic = topic
        self._secrets = secrets
        self._signed: dict[str, int] = {}

    def latest(self, key: str) -> datetime | None:
        """When the latest record of this key that passed was signed; None: none was."""
        micros = self._signed.get(key)
        return None if micros is None else _EPOCH + micros * _MICROSECOND

    def check(self, key: str, value: bytes | None, headers: Headers) -> None:
        """Pass, or say why not.

        Raises
        ------
        Refused
            `unsigned` or `bad_signature`, at `headers.tidegate-signature`.
        """
        signature = signature_in(headers)
        found = None if signature is None else _FORM.fullmatch(signature)
        if not self._secrets:
            if found:  # remembered all the same: a record signed later must not seem older than this one
                self._signed[key] = max(int(found[2]), self._signed.get(key, 0))
            return
        if found is None:
            raise Refused(Reason.UNSIGNED, "no signature, and kafka.config_keys asks for one", PATH)
        key_id, micros, digest = found[1], int(found[2]), found[3]
        secret = self._secrets.get(key_id)
        if secret is None:
            raise Refused(
                Reason.BAD_SIGNATURE, "signed with a key that kafka.config_keys does not have", PATH
            )
        if not hmac.compare_digest(digest, _digest(key_id, secret, self._topic, key, value, micros)):
            raise Refused(Reason.BAD_SIGNATURE, "the signature is of something else", PATH)
        if micros < self._signed.get(key, 0):
            raise Refused(Reason.BAD_SIGNATURE, "signed before the record that it would replace", PATH)
        self._signed[key] = micros


def _digest(key_id: str, secret: bytes, topic: str, key: str, value: bytes | None, micros: int) -> str:
    parts = [
        b"tidegate-config-v1",
        topic.encode(),
        key_id.encode(),
        str(micros).encode(),
        key.encode("utf-8", "surrogatepass"),
        b"deleted" if value is None else b"record",
        value or b"",
    ]
    signed = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
    return hmac.new(secret, signed, sha256).hexdigest()
