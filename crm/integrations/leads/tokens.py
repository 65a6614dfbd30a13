"""Time-trap tokens of the site snippet (site.md §6): base64url of the moment of issue and its HMAC.

A token proves when a page was opened. It is public, so it opens nothing: a young, old or forged
one only makes a request suspicious.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import hmac
import struct

from crm.integrations.leads.base import IntakeSettings

_STAMP = struct.Struct(">Q")
_MAC_BYTES = 16


def issue(settings: IntakeSettings, now: dt.datetime) -> str:
    """Return a token for a page opened now; raises ValueError without a token secret."""
    if not settings.token_secret:
        raise ValueError("an intake point without a token secret cannot issue tokens")
    stamp = _STAMP.pack(int(now.timestamp()))
    return base64.urlsafe_b64encode(stamp + _mac(settings, stamp)).decode("ascii")


def age(token: str, settings: IntakeSettings, now: dt.datetime) -> float | None:
    """Return the seconds since the token was issued, None when it is absent or forged."""
    try:
        data = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    stamp, mac = data[: _STAMP.size], data[_STAMP.size :]
    # Without a secret anybody could make a token that looks right.
    if not settings.token_secret or len(stamp) != _STAMP.size:
        return None
    if not hmac.compare_digest(mac, _mac(settings, stamp)):
        return None
    return now.timestamp() - float(_STAMP.unpack(stamp)[0])


def _mac(settings: IntakeSettings, stamp: bytes) -> bytes:
    # The key of the point is inside, so that a token of one site is worth nothing on another.
    message = settings.key.encode() + b"." + stamp
    secret = settings.token_secret.encode()
    return hmac.new(secret, message, hashlib.sha256).digest()[:_MAC_BYTES]
