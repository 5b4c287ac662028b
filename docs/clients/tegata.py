"""A client of Tegata's native frame protocol, version 1, on Python's standard library alone (3.11 or newer).

docs/protocol.md is the specification; this file is an example of it that runs. It blocks, and it has one request
in flight at a time.

    client = Client("127.0.0.1", 7411, gateway=501, namespace=21)
    key = new_key()                        # made once per customer's decision, and stored before the first send
    paid = client.debit("C-1001", "SHOP1", 1_500, key)
    if paid.outcome is Outcome.UNKNOWN:
        paid = client.resolve("C-1001", key)
    if paid.outcome is Outcome.APPROVED:
        ...                                # show it, and then:
        client.acknowledge(paid)

What was decided about money is a value, a Result, never an exception. Exceptions say that a question got no answer or
that the two sides do not understand each other.

    python3 tegata.py --gateway 127.0.0.1:7411 --operate 127.0.0.1:7412     runs an exercise against a server
    ... --credentials FILE                                                  the same where callers prove a secret
    python3 tegata.py --vectors crates/wire/tests/vectors                   checks the golden frames
"""

from __future__ import annotations

import argparse
import enum
import hashlib
import hmac
import os
import random
import socket
import stat
import struct
import sys
import threading
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

VERSION = 1
REQUEST_HEADER_BYTES = 72
ANSWER_HEADER_BYTES = 24
FRAME_BYTES_MAX = 4_096
ANSWER_BYTES_MAX = 65_536
DEADLINE_MS_DEFAULT = 8_000
AMOUNT_MAX = 999_999_999_999

ANSWER_BIT = 0x80
FLAG_REPLAYED, FLAG_MORE, FLAG_FLAGGED, FLAG_REFUSED = 1, 2, 4, 8


class Kind(enum.IntEnum):
    """Frame kinds. 1 to 19, 24 and 25 are commands: they are written to the journal and decided under their key."""

    ISSUE = 1
    LOAD = 2
    CHARGE = 3
    DEBIT = 4
    DEBIT_CONFIRMED = 5
    HOLD = 6
    CAPTURE = 7
    VOID = 8
    CONFIRM = 9
    REVERSAL = 10
    REFUND = 11
    FENCE = 12
    REINSTATE = 13
    EXTEND = 14
    ACCOUNT_LIFE = 15
    SHOP_LIFE = 16
    PROGRAMME_LIFE = 17
    PROGRAMME = 18
    SHOP = 19
    LEASE = 24
    ADVICE = 25
    HELLO = 64
    PING = 65
    ACK = 66
    GOODBYE = 67
    STATUS = 68
    BALANCE = 69
    PLAN_EXTEND = 70
    PLAN_REINSTATE = 71
    HISTORY = 72
    SERVER_STATUS = 73
    LIST_PROGRAMMES = 74
    LIST_SHOPS = 75
    SNAPSHOT_TAKE = 76
    DIGEST = 77
    BREAKERS = 78
    BREAKER_ORDER = 79
    CHALLENGE = 80
    REFUSALS = 81


COMMANDS = (*range(1, 20), Kind.LEASE, Kind.ADVICE)


class Outcome(enum.Enum):
    """What a caller may make of an answer. Only UNKNOWN leaves anything open."""

    APPROVED = "approved"
    DECLINED = "declined"
    SUSPECTED = "suspected duplicate"
    NOT_EXECUTED = "rejected, not executed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    FENCED = "fenced"


class State(enum.IntEnum):
    """What became of a decision since; only the answer to a status request tells."""

    FINAL = 0
    OPEN = 1
    CAPTURED = 2
    VOIDED = 3
    REVERSED = 4
    PARTLY_RETURNED = 5
    FENCED = 6


CODES = {
    0: "approved", 1: "partially-approved",
    10: "insufficient-funds", 11: "expired", 12: "not-yet-valid", 13: "shop-unknown", 14: "shop-not-allowed",
    15: "shop-suspended", 16: "account-unknown", 17: "account-suspended", 18: "account-closed", 19: "account-exists",
    20: "account-kind", 21: "programme-unknown", 22: "programme-suspended", 23: "amount-limit", 24: "balance-limit",
    25: "lot-limit", 26: "amount-invalid", 27: "expiry-invalid", 28: "original-unknown", 29: "original-kind",
    30: "original-declined", 31: "voided", 32: "already-captured", 33: "already-reversed", 34: "exceeds-original",
    35: "same-person", 36: "plan-mismatch", 37: "rule-exists", 38: "wrong-programme", 39: "limit-reached",
    40: "hold-limit", 41: "stand-in-off", 42: "lease-held",
    100: "suspected-duplicate",
    110: "overloaded", 111: "draining", 112: "memory-limit", 113: "disk-full", 114: "deadline-passed", 115: "halted",
    116: "wrong-shard", 117: "journal-slow", 118: "rate-exceeded",
    140: "unknown", 141: "in-progress", 142: "not-seen",
    150: "malformed", 151: "unauthenticated", 152: "conflict", 153: "fenced", 154: "key-too-old",
    155: "original-too-old", 156: "key-clock", 157: "operation-unknown", 158: "version-unknown",
    159: "frame-too-large", 160: "namespace-not-allowed", 161: "log-dropped", 162: "not-from-here",
    163: "operation-not-permitted", 164: "shop-not-permitted", 165: "programme-not-permitted",
    166: "amount-not-permitted",
}  # fmt: skip

CLOSE_REASONS = {
    1: "draining", 2: "idle", 3: "protocol error", 4: "frame too large", 5: "bad checksum", 6: "version",
    7: "overload", 8: "failed", 9: "unauthenticated",
}  # fmt: skip


def outcome_of(code: int) -> Outcome:
    """The class of a code. A code that is not known here is UNKNOWN, which is the careful direction."""
    if code not in CODES:
        return Outcome.UNKNOWN
    if code <= 1:
        return Outcome.APPROVED
    if code == 36:
        return Outcome.REFUSED
    if code < 100:
        return Outcome.DECLINED
    if code == 100:
        return Outcome.SUSPECTED
    if code < 140:
        return Outcome.NOT_EXECUTED
    if code < 150:
        return Outcome.UNKNOWN
    return Outcome.FENCED if code == 153 else Outcome.REFUSED


class TegataError(Exception):
    """Everything that this module raises by itself."""


class ProtocolError(TegataError):
    """The bytes are not what docs/protocol.md says."""


class NotAnswered(TegataError):
    """No answer came: the connection could not be made, broke, or was silent for too long."""


class Goodbye(NotAnswered):
    """The server ended the connection and said why."""

    def __init__(self, reason: int, retry_after_ms: int):
        super().__init__(f"goodbye: {CLOSE_REASONS.get(reason, reason)}")
        self.reason, self.retry_after_ms = reason, retry_after_ms


class Refused(TegataError):
    """The server refused a question (a command's refusal is a Result)."""

    def __init__(self, code: int):
        super().__init__(f"refused: {code} {CODES.get(code, '?')}")
        self.code = code


# --- checksum, keys, ids ---------------------------------------------------------------------------------------------


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli): polynomial 0x1EDC6F41, reflected 0x82F63B78, start and end inverted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = (crc >> 8) ^ _CRC_TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def new_key() -> bytes:
    """A UUIDv7: 48 bits of milliseconds since 1970, big-endian, and 74 random bits."""
    b = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10))
    b[6] = 0x70 | (b[6] & 0x0F)
    b[8] = 0x80 | (b[8] & 0x3F)
    return bytes(b)


def text_id(text: str, size: int = 16, used: int | None = None) -> bytes:
    """An id: printable ASCII without spaces, zero-padded."""
    raw = text.encode("ascii")
    if not 1 <= len(raw) <= (used or size) or any(not 0x21 <= b <= 0x7E for b in raw):
        raise ValueError(f"{text!r} is not 1 to {used or size} printable characters")
    return raw.ljust(size, b"\0")


def padded(text: str, size: int) -> bytes:
    """UTF-8, zero-padded."""
    raw = text.encode()
    if len(raw) > size:
        raise ValueError(f"{text!r} has more than {size} bytes")
    return raw.ljust(size, b"\0")


def text_of(raw: bytes) -> str:
    """The text of an id or a name."""
    return raw.rstrip(b"\0").decode(errors="replace")


# --- layouts: every body as a table ----------------------------------------------------------------------------------


class Layout:
    """Little-endian fields in order. A field that is named `_` is reserved: written as zero, checked when read."""

    def __init__(self, *fields: tuple[str, str]):
        self.fields = fields
        self.size = struct.calcsize("<" + "".join(f for _, f in fields))

    def pack(self, values: dict) -> bytes:
        parts = []
        for name, form in self.fields:
            blank = b"" if form.endswith("s") else 0
            parts.append(struct.pack("<" + form, blank if name == "_" else values[name]))
        return b"".join(parts)

    def unpack(self, data: bytes, at: int = 0) -> dict:
        if len(data) - at < self.size:
            raise ProtocolError(f"a body ends early: {len(data) - at} of {self.size} bytes")
        values = {}
        for name, form in self.fields:
            (value,) = struct.unpack_from("<" + form, data, at)
            at += struct.calcsize("<" + form)
            if name != "_":
                values[name] = value
            elif any(value):
                raise ProtocolError("reserved space is not zero")
        return values

    def __add__(self, other: "Layout") -> "Layout":
        return Layout(*self.fields, *other.fields)


def _layout(text: str) -> Layout:
    return Layout(*(tuple(word.split(":")) for word in text.split()))


REQUEST_HEADER = _layout(
    "length:I crc:I kind:B version:B flags:H acked:I request_id:Q deadline_ms:I age_ms:I account:16s key:16s "
    "namespace:I _:4s"
)
ANSWER_HEADER = _layout("length:I crc:I kind:B version:B flags:H number:I request_id:Q")

_PURCHASE = _layout("shop:16s terminal:8s amount:Q token:Q seconds:I partial:I")
_APPROVAL = _layout("maker:16s approver:16s reason:48s incident:I _:4s plan:Q")
_PROGRAMME = _layout(
    "id:I guard_window_s:I name:48s payment_max:Q balance_max:Q doubt_window_s:I hold_default_s:I hold_max_s:I "
    "refund_days:I validity_days:I zone_minutes:h priority:B expired_refund:B guard_mode:B any_shop:B"
)
_ALLOWANCE = _layout(
    "stand_in_payment_max:Q stand_in_account_max:Q stand_in_shop_max:Q stand_in_total_max:Q stand_in_seconds:I _:4s"
)
_EXTEND = _layout("rule:I programme:I expiry_from:q expiry_before:q expires_at:q as_of:Q include_expired:Q") + _APPROVAL
_REINSTATE = _layout("programme:I _:4s amount:Q expires_at:q corrects:16s") + _APPROVAL
_NOTHING = Layout()

REQUESTS = {
    Kind.ISSUE: _layout("programme:I stay_end_day:H kind:B _:1s amount:Q expires_at:q valid_from:q"),
    Kind.LOAD: _layout("programme:I _:2s kind:B _:1s amount:Q expires_at:q"),
    Kind.CHARGE: _layout("wallet:16s amount:Q"),
    Kind.DEBIT: _PURCHASE,
    Kind.DEBIT_CONFIRMED: _PURCHASE,
    Kind.HOLD: _PURCHASE,
    Kind.CAPTURE: _layout("original:16s amount:Q"),
    Kind.VOID: _layout("original:16s"),
    Kind.CONFIRM: _layout("original:16s"),
    Kind.REVERSAL: _layout("original:16s remain:Q"),
    Kind.REFUND: _layout("original:16s amount:Q"),
    Kind.FENCE: _NOTHING,
    Kind.REINSTATE: _REINSTATE,
    Kind.EXTEND: _EXTEND,
    Kind.ACCOUNT_LIFE: _layout("life:B _:7s"),
    Kind.SHOP_LIFE: _layout("shop:16s life:B _:7s"),
    Kind.PROGRAMME_LIFE: _layout("programme:I life:B _:3s"),
    Kind.PROGRAMME: _PROGRAMME + _layout("_:6s"),
    Kind.SHOP: _layout("shop:16s programme:I _:4s name:48s"),
    Kind.LEASE: _layout("programme:I _:4s holder:16s") + _ALLOWANCE,
    Kind.ADVICE: _PURCHASE + _layout("programme:I _:4s lease:Q approved_at:q"),
    Kind.HELLO: _layout("version_min:H version_max:H gateway:I role:B auth_method:B count:H credits:I auth:32s"),
    Kind.PING: _NOTHING,
    Kind.ACK: _NOTHING,
    Kind.GOODBYE: _NOTHING,
    Kind.STATUS: _NOTHING,
    Kind.BALANCE: _NOTHING,
    Kind.PLAN_EXTEND: _EXTEND,
    Kind.PLAN_REINSTATE: _REINSTATE,
    Kind.HISTORY: _layout("start:Q limit:I only:I account:16s shop:16s from_us:q before_us:q key:16s"),
    Kind.SERVER_STATUS: _NOTHING,
    Kind.LIST_PROGRAMMES: _NOTHING,
    Kind.LIST_SHOPS: _layout("after:I _:4s"),
    Kind.SNAPSHOT_TAKE: _NOTHING,
    Kind.DIGEST: _NOTHING,
    Kind.BREAKERS: _NOTHING,
    Kind.BREAKER_ORDER: _layout("cause:B order:B _:2s ms:I"),
    Kind.CHALLENGE: _layout("credential:16s nonce:32s"),
}

DECISION = _layout("code:H state:B _:1s retry_after_ms:I amount:Q balance:Q position:Q decided_at:q related:Q")
_PLAN = _layout("code:H _:6s count:Q sum:Q digest:Q position:Q")
_LOT_PART = _layout("lot:Q yen:Q")
_BREAKERS = (
    _layout("mode:Q count:I _:4s"),
    "breakers",
    _layout(
        "cause:B state:B stage:B _:5s since:q level:Q open_at:Q drill_until:q closed:Q opened:Q half_opened:Q latched:Q"
    ),
)

# The fixed part of an answer's body, and what its entries look like where it has some: their field, and their layout.
ANSWERS: dict[int, tuple[Layout, str | None, Layout | None]] = {
    Kind.HELLO: (
        _layout(
            "version:H code:H frame_bytes_max:I credits:I idle_limit_ms:I server_time:q position:Q features:Q "
            "store_id:16s"
        ),
        None,
        None,
    ),
    Kind.CHALLENGE: (_layout("nonce:32s store_id:16s"), None, None),
    Kind.PING: (_layout("server_time:q"), None, None),
    Kind.GOODBYE: (_layout("reason:H _:2s retry_after_ms:I"), None, None),
    Kind.BALANCE: (
        _layout("code:H life:B wallet:B count:I balance:Q held:Q position:Q lot_count:Q"),
        "lots",
        _layout("id:Q remaining:Q expires_at:q valid_from:q programme:I paid:B _:3s"),
    ),
    Kind.PLAN_EXTEND: (_PLAN, None, None),
    Kind.PLAN_REINSTATE: (_PLAN, None, None),
    Kind.HISTORY: (
        _layout("count:I _:4s up_to:Q"),
        "entries",
        _layout(
            "bytes:H kind:H code:H flags:H position:Q at:q received_at:q namespace:I gateway:I account:16s key:16s "
            "shop:16s terminal:8s asked:Q amount:Q balance:Q related:Q other:16s lot_count:I _:4s deadline:q lease:Q "
            "approved_at:q"
        ),
    ),
    Kind.SERVER_STATUS: (
        _layout(
            "mode:Q uptime_ms:Q accepted:Q submitted:Q durable:Q applied:Q delivered:Q accounts:Q decisions:Q "
            "table_bytes:Q connections:Q in_flight:Q flush_us:Q version:16s"
        ),
        None,
        None,
    ),
    Kind.LIST_PROGRAMMES: (
        _layout("count:I _:4s"),
        "programmes",
        _layout("life:B _:7s") + _PROGRAMME + _layout("_:6s") + _ALLOWANCE,
    ),
    Kind.LIST_SHOPS: (_layout("count:I next:I"), "shops", _layout("id:16s programme:I life:B _:3s name:48s")),
    Kind.SNAPSHOT_TAKE: (_layout("started:Q position:Q"), None, None),
    Kind.DIGEST: (
        _layout("position:Q digest:16s count:I _:4s"),
        "programmes",
        _layout(
            "programme:I _:4s issued:16s charged:16s reinstated:16s balances:16s spent:16s returned:16s expired:16s "
            "paid_out:16s shortfall:16s"
        ),
    ),
    Kind.BREAKERS: _BREAKERS,
    Kind.BREAKER_ORDER: _BREAKERS,
    # Comes only to whoever asks for it in the flags of its hello; this client has one request in flight and does not.
    Kind.REFUSALS: (_layout("code:H count:H _:4s decided_at:q"), "requests", _layout("request_id:Q retry_after_ms:I")),
}


# --- frames ----------------------------------------------------------------------------------------------------------


def _seal(frame: bytes) -> bytes:
    return struct.pack("<II", len(frame), crc32c(frame[8:])) + frame[8:]


def check_frame(frame: bytes) -> None:
    """Length and checksum of a whole frame."""
    if len(frame) < ANSWER_HEADER_BYTES:
        raise ProtocolError("the frame ends early")
    length, crc = struct.unpack_from("<II", frame)
    if length != len(frame):
        raise ProtocolError("the length is not that of the frame")
    if crc32c(frame[8:]) != crc:
        raise ProtocolError("the checksum does not hold")


def encode_request(kind: int, body: dict | None = None, **header) -> bytes:
    """A request frame. `header`: request_id, acked, deadline_ms, age_ms, account, key, namespace; absent ones are 0."""
    values = dict(length=0, crc=0, kind=kind, version=VERSION, flags=0, acked=0, request_id=0, deadline_ms=0)
    values |= dict(age_ms=0, account=b"", key=b"", namespace=0) | header
    out = REQUEST_HEADER.pack(values) + REQUESTS[kind].pack(body or {})
    if kind == Kind.PROGRAMME and "stand_in_total_max" in body:
        out += _ALLOWANCE.pack(body)
    if kind == Kind.HELLO:
        listed = (body or {})["namespaces"]
        out += struct.pack(f"<{len(listed)}I", *listed) + bytes(4 * (len(listed) % 2))
    return _seal(out)


def decode_request(frame: bytes) -> tuple[dict, dict]:
    """Header and body of a request frame; servers and tests need it, clients do not."""
    check_frame(frame)
    header = REQUEST_HEADER.unpack(frame)
    if header["version"] != VERSION or header["kind"] not in REQUESTS:
        raise ProtocolError(f"kind {header['kind']} of version {header['version']} is not known")
    layout = REQUESTS[header["kind"]]
    if header["kind"] == Kind.PROGRAMME and len(frame) > REQUEST_HEADER_BYTES + layout.size:
        layout += _ALLOWANCE
    body, end = layout.unpack(frame, REQUEST_HEADER_BYTES), REQUEST_HEADER_BYTES + layout.size
    if header["kind"] == Kind.HELLO:
        body["namespaces"] = list(struct.unpack_from(f"<{body['count']}I", frame, end))
        end += 4 * body["count"]
    if any(frame[end:]):
        raise ProtocolError("reserved space is not zero")
    return header, body


@dataclass
class Answer:
    """A decoded answer frame. `raw` is its body as it came: the same bytes for every repeat of a decision."""

    kind: int
    flags: int
    number: int
    request_id: int
    body: dict
    raw: bytes


def is_decision(kind: int, flags: int) -> bool:
    """Commands, status requests and every refusal have the same 48 bytes as their answer."""
    return kind in COMMANDS or kind in (0, Kind.STATUS) or bool(flags & FLAG_REFUSED)


def decode_answer(frame: bytes) -> Answer:
    """An answer frame. Bytes behind the fields that are known are left to later versions."""
    check_frame(frame)
    h = ANSWER_HEADER.unpack(frame)
    kind, raw = h["kind"] & ~ANSWER_BIT, frame[ANSWER_HEADER_BYTES:]
    if h["version"] != VERSION or not h["kind"] & ANSWER_BIT:
        raise ProtocolError("not an answer of version 1")
    if is_decision(kind, h["flags"]):
        if len(raw) != DECISION.size:
            raise ProtocolError(f"a decision has {DECISION.size} bytes, not {len(raw)}")
        body = DECISION.unpack(raw)
    elif kind in ANSWERS:
        body = _decode_entries(kind, raw)
    else:
        raise ProtocolError(f"an answer of kind {kind} is not known")
    return Answer(kind, h["flags"], h["number"], h["request_id"], body, raw)


def _decode_entries(kind: int, raw: bytes) -> dict:
    fixed, name, entry = ANSWERS[kind]
    body, at = fixed.unpack(raw), fixed.size
    if name is None or entry is None:
        return body
    body[name] = []
    for _ in range(body["count"]):
        e = entry.unpack(raw, at)
        at += entry.size
        if kind == Kind.HISTORY:
            e["lots"] = [_LOT_PART.unpack(raw, at + i * _LOT_PART.size) for i in range(e["lot_count"])]
            at += len(e["lots"]) * _LOT_PART.size
            size = entry.size + len(e["lots"]) * _LOT_PART.size
            if e["bytes"] == size + _APPROVAL.size:
                e["approval"], at, size = _APPROVAL.unpack(raw, at), at + _APPROVAL.size, size + _APPROVAL.size
            if e["bytes"] != size:
                raise ProtocolError("an entry has another length than it says")
        body[name].append(e)
    return body


def encode_answer(a: Answer) -> bytes:
    """The frame of an answer; servers and tests need it, clients do not."""
    header = dict(length=0, crc=0, kind=a.kind | ANSWER_BIT, version=VERSION, flags=a.flags, number=a.number)
    out = ANSWER_HEADER.pack(header | dict(request_id=a.request_id))
    if is_decision(a.kind, a.flags):
        return _seal(out + DECISION.pack(a.body))
    fixed, name, entry = ANSWERS[a.kind]
    out += fixed.pack(a.body)
    for e in a.body[name] if name and entry else []:
        out += entry.pack(e) + b"".join(_LOT_PART.pack(lot) for lot in e.get("lots", []))
        out += _APPROVAL.pack(e["approval"]) if "approval" in e else b""
    return _seal(out)


# --- a connection ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Credential:
    """What a caller shares with the server: a name, and a secret that is never sent."""

    name: str
    secret: bytes = field(repr=False)

    @staticmethod
    def load(path: str, role: int, number: int) -> "Credential":
        """That of a gateway or an operator in a file of `[[credential]]`s that nobody else can read."""
        with open(path, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ValueError(f"{path} can be read by others: chmod 600")
            listed = tomllib.load(file)["credential"]
        wanted = "operator" if role == 2 else "gateway"
        found = next((c for c in listed if (c["class"], c["number"]) == (wanted, number)), None)
        if found is None:
            raise ValueError(f"{path} has no credential of {wanted} {number}")
        return Credential(found["id"], bytes.fromhex(found["secret"]))

    def prove(self, nonce: bytes, challenged: dict, hello: dict) -> bytes:
        """The `auth` of a hello: everything that was said is in it."""
        frame = encode_request(Kind.HELLO, hello | dict(auth=b""))
        said = b"tegata hello v1\0" + text_id(self.name) + nonce + challenged["nonce"] + challenged["store_id"]
        return hmac.digest(self.secret, said + frame[REQUEST_HEADER_BYTES:], hashlib.sha256)


class Connection:
    """One TCP connection after its hello."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        gateway: int,
        namespaces: tuple[int, ...] = (),
        role: int = 1,
        credential: Credential | None = None,
        versions: tuple[int, int] = (VERSION, VERSION),
        timeout_s: float = 5.0,
    ):
        self.buffer = b""
        self.request_id = 0
        self.acked = 0
        self.last_number = 0
        try:
            self.socket = socket.create_connection((host, port), timeout_s)
        except OSError as e:
            raise NotAnswered(f"{host}:{port}: {e}") from e
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = dict(version_min=versions[0], version_max=versions[1], gateway=gateway, role=role, auth_method=0)
        hello |= dict(count=len(namespaces), credits=1, auth=b"", namespaces=namespaces)
        try:
            if credential is not None:
                nonce = os.urandom(32)
                asked = dict(credential=text_id(credential.name), nonce=nonce)
                challenged = self.ask(Kind.CHALLENGE, asked, timeout_s=timeout_s)
                if is_decision(challenged.kind, challenged.flags):
                    raise Refused(challenged.body["code"])
                hello["auth_method"] = 1
                hello["auth"] = credential.prove(nonce, challenged.body, hello)
            answer = self.ask(Kind.HELLO, hello, timeout_s=timeout_s)
            if is_decision(answer.kind, answer.flags) or answer.body["code"]:
                raise Refused(answer.body["code"])
        except TegataError:
            self.close()
            raise
        self.hello = answer.body

    def close(self) -> None:
        """Ends the connection. What was not acknowledged counts as undelivered from here on."""
        self.socket.close()

    def send(self, kind: int, body: dict | None = None, **header) -> int:
        """Sends one request, which carries the acknowledgement; returns its number."""
        self.request_id += 1
        self.send_bytes(encode_request(kind, body, request_id=self.request_id, acked=self.acked, **header))
        return self.request_id

    def send_bytes(self, data: bytes) -> None:
        """Sends bytes as they are."""
        try:
            self.socket.sendall(data)
        except OSError as e:
            raise NotAnswered(str(e)) from e

    def receive(self, timeout_s: float) -> Answer:
        """The next answer frame, whoever it is for."""
        until = time.monotonic() + timeout_s
        while True:
            if len(self.buffer) >= 4:
                (length,) = struct.unpack_from("<I", self.buffer)
                if not ANSWER_HEADER_BYTES <= length <= ANSWER_BYTES_MAX:
                    raise ProtocolError(f"a frame cannot be {length} bytes long")
                if len(self.buffer) >= length:
                    frame, self.buffer = self.buffer[:length], self.buffer[length:]
                    answer = decode_answer(frame)
                    self.last_number = answer.number or self.last_number
                    return answer
            left = until - time.monotonic()
            if left <= 0:
                raise NotAnswered("no answer in time")
            self.socket.settimeout(left)
            try:
                chunk = self.socket.recv(65_536)
            except OSError as e:
                raise NotAnswered(str(e) or "no answer in time") from e
            if not chunk:
                raise NotAnswered("the server closed the connection")
            self.buffer += chunk

    def ask(self, kind: int, body: dict | None = None, *, timeout_s: float, **header) -> Answer:
        """Sends a request and waits for its answer; answers to other requests are left out."""
        request = self.send(kind, body, **header)
        return self.answer_to(request, timeout_s)

    def answer_to(self, request: int, timeout_s: float) -> Answer:
        """The answer to a request. A goodbye that comes first is remembered until the answer, or the end, is there."""
        until, goodbye = time.monotonic() + timeout_s, None
        while True:
            try:
                answer = self.receive(max(0.0, until - time.monotonic()))
            except NotAnswered as e:
                raise goodbye or e
            if answer.kind == Kind.GOODBYE and not answer.flags & FLAG_REFUSED:
                goodbye = Goodbye(answer.body["reason"], answer.body["retry_after_ms"])
            elif answer.request_id == request:
                return answer


# --- the client ------------------------------------------------------------------------------------------------------


@dataclass
class Result:
    """What is known about one key. `position` 0: it was not recorded."""

    outcome: Outcome
    account: bytes
    key: bytes
    code: int = 140
    state: int = 0
    retry_after_ms: int = 0
    amount: int = 0
    balance: int = 0
    position: int = 0
    decided_at: int = 0
    related: int = 0
    replayed: bool = False
    flagged: bool = False
    number: int = 0
    # A frame with this key was never answered and may still arrive: fence the key before giving it up.
    fence_first: bool = False
    raw: bytes = field(default=b"", repr=False)
    via: Connection | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The code's stable name."""
        return CODES.get(self.code, str(self.code))


class Client:
    """A gateway's client: it connects by itself, repeats the same key within the deadline, and never guesses."""

    ATTEMPT_S = 2.0

    def __init__(
        self,
        host: str,
        port: int,
        *,
        gateway: int,
        namespace: int,
        role: int = 1,
        credential: Credential | None = None,
    ):
        self.host, self.port, self.gateway, self.namespace, self.role = host, port, gateway, namespace, role
        self.credential = credential
        self.connection: Connection | None = None

    def connect(self) -> Connection:
        """The connection, made now when there is none."""
        if self.connection is None:
            self.connection = Connection(
                self.host,
                self.port,
                gateway=self.gateway,
                namespaces=(self.namespace,),
                role=self.role,
                credential=self.credential,
            )
        return self.connection

    def close(self) -> None:
        """Says goodbye, with the last acknowledgement, and closes."""
        if self.connection is not None:
            try:
                self.connection.send(Kind.GOODBYE)
            except NotAnswered:
                pass
            self._drop()

    def _drop(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def acknowledge(self, result: Result) -> None:
        """Whoever had to see this answer has seen it, and every earlier one. Carried by the next frame as well."""
        c = self.connection
        if c is None or result.via is not c or result.number <= c.acked:
            return  # Nothing to acknowledge, or its connection is gone: then it counts as undelivered already.
        c.acked = result.number
        c.send(Kind.ACK)

    # Commands.

    def debit(self, account, shop, amount: int, key: bytes, *, terminal="", token=0, partial=False, **how) -> Result:
        """Takes value. `token` is the `related` of a suspected duplicate when a second purchase is meant."""
        return self._command(Kind.DEBIT, account, key, _purchase(shop, terminal, amount, token, 0, partial), **how)

    def debit_confirmed(self, account, shop, amount, key, *, seconds=0, terminal="", token=0, **how) -> Result:
        """Takes value that goes back by itself unless it is confirmed within `seconds` (0: the programme's default)."""
        body = _purchase(shop, terminal, amount, token, seconds, False)
        return self._command(Kind.DEBIT_CONFIRMED, account, key, body, **how)

    def hold(self, account, shop, amount, key, *, seconds=0, terminal="", token=0, partial=False, **how) -> Result:
        """Reserves value for `seconds` (0: the programme's default)."""
        return self._command(Kind.HOLD, account, key, _purchase(shop, terminal, amount, token, seconds, partial), **how)

    def capture(self, account, original: bytes, key: bytes, amount: int = 0, **how) -> Result:
        """Takes what a hold reserved, or less; 0: all."""
        return self._command(Kind.CAPTURE, account, key, dict(original=original, amount=amount), **how)

    def void(self, account, original: bytes, key: bytes, **how) -> Result:
        """Cancels a hold."""
        return self._command(Kind.VOID, account, key, dict(original=original), **how)

    def confirm(self, account, original: bytes, key: bytes, **how) -> Result:
        """The customer's side knows of a confirmed debit's approval."""
        return self._command(Kind.CONFIRM, account, key, dict(original=original), **how)

    def reverse(self, account, original: bytes, key: bytes, remain: int = 0, **how) -> Result:
        """Treats the original as never made, or leaves `remain` yen of it. An unknown original is fenced by this."""
        return self._command(Kind.REVERSAL, account, key, dict(original=original, remain=remain), **how)

    def refund(self, account, original: bytes, amount: int, key: bytes, **how) -> Result:
        """New credit for an earlier debit."""
        return self._command(Kind.REFUND, account, key, dict(original=original, amount=amount), **how)

    def charge(self, coupon, wallet, key: bytes, amount: int = 0, **how) -> Result:
        """Moves a coupon's value into a wallet, which opens on first use; 0: all that can be spent."""
        return self._command(Kind.CHARGE, coupon, key, dict(wallet=text_id(wallet), amount=amount), **how)

    def load(self, wallet, programme: int, amount: int, key: bytes, *, expires_at=0, paid=True, **how) -> Result:
        """Puts value on a wallet against cash."""
        body = dict(programme=programme, kind=int(paid), amount=amount, expires_at=expires_at)
        return self._command(Kind.LOAD, wallet, key, body, **how)

    def fence(self, account, key: bytes, **how) -> Result:
        """Decides a key as "never", or says what is decided under it already. It carries the key itself."""
        return self._command(Kind.FENCE, account, key, {}, **how)

    # Stand-in: a client that uses these stores what it approves before it says "paid" (docs/protocol.md).

    def lease(self, programme: int, holder: bytes, caps: dict, key: bytes, **how) -> Result:
        """What this client may approve by itself; `holder` names it, `caps` are the fields `stand_in_*`."""
        return self._command(Kind.LEASE, b"", key, dict(programme=programme, holder=holder) | caps, **how)

    def advise(self, account, shop, amount: int, key: bytes, programme: int, lease: int, approved_at: int) -> Result:
        """Tells of a debit that was approved under a lease, under the debit's own key. Until it is answered."""
        body = _purchase(shop, "", amount, 0, 0, False)
        body |= dict(programme=programme, lease=lease, approved_at=approved_at)
        return self._command(Kind.ADVICE, account, key, body)

    # Commands that the operators' port serves.

    def programme(self, number: int, name: str, key: bytes, **rules) -> Result:
        """Creates a programme or gives it new rules."""
        body = dict(id=number, name=padded(name, 48), payment_max=AMOUNT_MAX, balance_max=AMOUNT_MAX)
        body |= dict(guard_window_s=120, doubt_window_s=1_800, hold_default_s=600, hold_max_s=604_800, refund_days=30)
        body |= dict(validity_days=180, zone_minutes=540, priority=100, expired_refund=0, guard_mode=0, any_shop=1)
        return self._command(Kind.PROGRAMME, None, key, body | rules)

    def shop(self, shop: str, name: str, key: bytes, programme: int = 0) -> Result:
        """Registers a shop; `programme` 0: any programme that allows any shop."""
        body = dict(shop=text_id(shop, 16, 15), programme=programme, name=padded(name, 48))
        return self._command(Kind.SHOP, None, key, body)

    def issue(self, coupon, programme: int, amount: int, key: bytes, *, expires_at=0, paid=False) -> Result:
        """Creates a paper coupon; `expires_at` 0: the programme's validity from now."""
        body = dict(programme=programme, stay_end_day=0, kind=int(paid), amount=amount)
        return self._command(Kind.ISSUE, coupon, key, body | dict(expires_at=expires_at, valid_from=0))

    def reinstate(self, account, body: dict, key: bytes) -> Result:
        """The operator gives value back, with the digest of a plan and by two people."""
        return self._command(Kind.REINSTATE, account, key, body)

    # Questions.

    def status(self, account, key: bytes) -> Result:
        """What is decided under a key. "not seen" is not a promise; a fence is."""
        answer = self.question(Kind.STATUS, account=_account(account), key=key, namespace=self.namespace)
        return _result(answer, account, key, self.connection)

    def balance(self, account) -> dict:
        """What is on an account; `code` 16: there is none."""
        return self.question(Kind.BALANCE, account=_account(account)).body

    def question(self, kind: int, body: dict | None = None, **header) -> Answer:
        """Asks something that changes nothing; once more over a new connection when the first one breaks."""
        for last in (False, True):
            try:
                answer = self.connect().ask(kind, body, timeout_s=self.ATTEMPT_S, **header)
                if answer.flags & FLAG_REFUSED:
                    raise Refused(answer.body["code"])
                return answer
            except (NotAnswered, ProtocolError):
                self._drop()
                if last:
                    raise
        raise AssertionError("the loop returns or raises")

    def history(self, **query) -> list[dict]:
        """Decisions in log order; the operators' port only. Every filter that is not zero must match."""
        body = dict(start=0, limit=0, only=0, account=b"", shop=b"", from_us=0, before_us=0, key=b"") | query
        c = self.connect()
        request, entries = c.send(Kind.HISTORY, body), []
        while True:
            answer = c.answer_to(request, 30.0)
            if answer.flags & FLAG_REFUSED:
                raise Refused(answer.body["code"])
            entries += answer.body["entries"]
            if not answer.flags & FLAG_MORE:
                return entries

    # The way out of a doubt.

    def resolve(self, account, key: bytes, deadline_ms: int = DEADLINE_MS_DEFAULT) -> Result:
        """After an unknown outcome: asks, and when nothing is decided fences. Ends with a decision, with FENCED
        (nothing was taken, and never will be), or with UNKNOWN, and then is to be called again later."""
        try:
            known = self.status(account, key)
            if known.position:
                return known
        except (NotAnswered, ProtocolError, Refused):
            pass
        return self.fence(account, key, deadline_ms=deadline_ms)

    def _command(self, kind, account, key, body, *, deadline_ms=DEADLINE_MS_DEFAULT, age_ms=0) -> Result:
        """Sends one command until it is answered for good or the customer's time is over, always with the same key."""
        began, unanswered, last = time.monotonic(), False, None
        header = dict(account=_account(account), key=key, namespace=self.namespace, deadline_ms=deadline_ms)
        while True:
            age = age_ms + int((time.monotonic() - began) * 1_000)
            left = (deadline_ms - age) / 1_000
            if last is not None and left <= 0:
                break
            sent, wait_ms = False, 0
            try:
                c = self.connect()
                sent = True
                answer = c.ask(kind, body, timeout_s=max(0.25, min(self.ATTEMPT_S, left)), age_ms=age, **header)
                last = _result(answer, account, key, c)
                wait_ms = last.retry_after_ms
                again = last.outcome is Outcome.NOT_EXECUTED and last.code != 114 or last.code == 141
                if not again:
                    break
            except (NotAnswered, ProtocolError) as e:
                self._drop()
                unanswered |= sent
                wait_ms = getattr(e, "retry_after_ms", 0)
                last = last or Result(Outcome.UNKNOWN, _account(account), key)
            except Refused:
                # A hello was refused. What was sent before over another connection stays in doubt.
                if not unanswered:
                    raise
                break
            time.sleep(min(max(left, 0.0), random.uniform(0.5, 1.0) * max(wait_ms, 50) / 1_000))
        if last.position:
            return last
        # Nothing is recorded as far as the last answer goes. A frame that was not answered may still arrive.
        refused = last.outcome is Outcome.NOT_EXECUTED or last.outcome is Outcome.REFUSED and last.code != 152
        if refused and unanswered:
            last.outcome, last.code = Outcome.UNKNOWN, 140
        if not unanswered and not last.raw:
            last.outcome = Outcome.NOT_EXECUTED  # No connection was ever made: nothing was sent.
        last.fence_first = unanswered
        return last


def _account(account) -> bytes:
    if account is None:
        return bytes(16)
    return account if isinstance(account, bytes) else text_id(account)


def _purchase(shop, terminal, amount, token, seconds, partial) -> dict:
    terminal = text_id(terminal, 8) if terminal else bytes(8)
    where = dict(shop=text_id(shop, 16, 15), terminal=terminal)
    return where | dict(amount=amount, token=token, seconds=seconds, partial=int(partial))


def _result(a: Answer, account, key: bytes, via: Connection | None) -> Result:
    if not is_decision(a.kind, a.flags):
        raise ProtocolError(f"an answer of kind {a.kind} is not a decision")
    return Result(
        outcome=outcome_of(a.body["code"]),
        account=_account(account),
        key=key,
        replayed=bool(a.flags & FLAG_REPLAYED),
        flagged=bool(a.flags & FLAG_FLAGGED),
        number=a.number,
        raw=a.raw,
        via=via,
        **a.body,
    )


# --- the golden vectors ----------------------------------------------------------------------------------------------


class Deviation(Exception):
    """Something is not as the specification says."""


def expect(what: str, got, wanted) -> None:
    """Raises a Deviation unless both are equal."""
    if got != wanted:
        raise Deviation(f"{what}: got {got!r}, expected {wanted!r}")


def read_vectors(path: Path) -> list[tuple[str, str, bytes]]:
    """Name, meaning and bytes of every entry of a file."""
    entries, entry = [], {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            label, _, value = line.partition(": ")
            entry[label] = value
            if label == "hex":
                entries.append((entry["name"], entry["meaning"], bytes.fromhex(value)))
                entry = {}
    return entries


def check_vector(name: str, frame: bytes) -> None:
    """Decodes a frame, encodes it again, and sees that a flipped bit does not go unseen."""
    if frame[8] & ANSWER_BIT:
        again = encode_answer(decode_answer(frame))
    else:
        header, body = decode_request(frame)
        again = encode_request(body=body, **{k: v for k, v in header.items() if k not in ("length", "crc")})
    expect(f"{name}: encoded again", again.hex(), frame.hex())
    damaged = bytearray(frame)
    damaged[len(frame) // 2] ^= 4
    try:
        check_frame(bytes(damaged))
    except ProtocolError:
        return
    raise Deviation(f"{name}: a flipped bit is not seen")


def check_proof(frames: dict[str, bytes]) -> None:
    """The proof of the fourth conversation; its secret is 32 bytes of 07."""
    challenge = decode_request(frames["4-challenge"])[1]
    hello = decode_request(frames["4-hello"])[1]
    challenged = decode_answer(frames["4-challenged"]).body
    proof = Credential("till-501", bytes([7] * 32)).prove(challenge["nonce"], challenged, hello)
    expect("the proof of 4-hello", proof.hex(), hello["auth"].hex())


def check_vectors(folder: Path) -> None:
    """Checks every file of vectors in a folder, and that every kind of request is among them."""
    kinds, files = set(), sorted(folder.glob("*.txt"))
    expect("files of vectors", [f.name for f in files], ["answers.txt", "crc32c.txt", "exchange.txt", "requests.txt"])
    for file in files:
        entries = read_vectors(file)
        for name, _, data in entries:
            if file.name == "crc32c.txt":
                expect(f"checksum of {data.hex()}", f"{crc32c(data):08x}", name)
            else:
                check_vector(f"{file.name} {name}", data)
                kinds.add(data[8])
        if not entries:
            raise Deviation(f"{file.name} is empty")
        if file.name == "exchange.txt":
            check_proof({name: data for name, _, data in entries})
        print(f"ok  {file.name}: {len(entries)} entries")
    expect("request kinds without a vector", sorted(set(REQUESTS) - kinds), [])


# --- the exercise ----------------------------------------------------------------------------------------------------


class BadLine:
    """A relay on this machine that loses answers: what comes after the answer to a hello is cut off, on the first
    `cuts` connections. The requests get through."""

    def __init__(self, target: tuple[str, int], cuts: int, pieces: int = 1):
        self.target, self.cuts, self.pieces, self.taken = target, cuts, pieces, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
            except OSError:
                return
            self.taken += 1
            threading.Thread(target=self._carry, args=(near, far, None), daemon=True).start()
            limit = self.pieces if self.taken <= self.cuts else None
            threading.Thread(target=self._carry, args=(far, near, limit), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        """Carries bytes, at most `limit` pieces of them: a client with one request in flight gets an answer a piece."""
        try:
            while chunk := source.recv(65_536):
                if limit is not None:
                    if limit == 0:
                        break
                    limit -= 1
                sink.sendall(chunk)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


class Exercise:
    """Everything that docs/protocol.md promises and one client can see, against a server with any history."""

    GATEWAY, NAMESPACE = 501, 21

    def __init__(self, gateway: tuple[str, int], operate: tuple[str, int], credentials: str | None = None):
        self.credentials = credentials
        tag = os.urandom(4).hex().upper()
        self.address = gateway
        self.till = Client(*gateway, **self.who(self.GATEWAY))
        self.office = Client(*operate, role=2, **self.who(1, role=2))
        self.programme = 1 + int.from_bytes(os.urandom(4), "big") % 0x7FFFFFFF
        self.shop, self.wallet = f"SHOP-{tag}", f"W-{tag}"
        self.coupon, self.second, self.third = (f"C{n}-{tag}" for n in (1, 2, 3))
        self.left = {}
        self.first: Result | None = None

    def steps(self):
        """Every step, in order."""
        yield from (self.greet, self.register, self.pay, self.repeat, self.conflict, self.second_press, self.no_funds)
        yield from (self.fence_undecided, self.fence_decided, self.reversal_first, self.refund, self.reverse)
        yield from (self.holds, self.confirmation, self.partial, self.charge, self.resolve, self.lost_once)
        yield from (self.lost_always, self.nobody_there, self.late, self.borders)
        yield from (self.reinstate, self.stand_in, self.balances, self.history, self.reports, self.half_close)
        yield from (self.future, self.damage, self.strange_version)
        if self.credentials:
            yield self.strangers
        yield self.goodbye

    def run(self) -> None:
        for number, step in enumerate(self.steps(), 1):
            print(f"ok  {number:2} {step.__name__}: {step()}", flush=True)

    def who(self, gateway: int, role: int = 1) -> dict:
        """What a client says of itself."""
        credential = Credential.load(self.credentials, role, gateway) if self.credentials else None
        return dict(gateway=gateway, namespace=self.NAMESPACE, credential=credential)

    def greetings(self) -> int:
        """Answers before the first one to a request."""
        return 2 if self.credentials else 1

    def connect(self, **how) -> Connection:
        usual = self.who(self.GATEWAY) | dict(namespaces=(self.NAMESPACE,))
        del usual["namespace"]
        return Connection(*self.address, **(usual | how))

    @staticmethod
    def approved(what: str, result: Result, amount: int | None = None) -> Result:
        expect(what, (result.outcome, result.name), (Outcome.APPROVED, "approved"))
        if amount is not None:
            expect(f"{what}: yen", result.amount, amount)
        return result

    def spend(self, coupon: str, amount: int) -> bytes:
        """A debit that must be approved; returns its key."""
        key = new_key()
        self.approved("debit", self.till.debit(coupon, self.shop, amount, key), amount)
        self.left[coupon] -= amount
        return key

    # The steps.

    def greet(self):
        here, there = self.till.connect().hello, self.office.connect().hello
        expect("version", here["version"], VERSION)
        expect("one store behind both ports", here["store_id"], there["store_id"])
        expect("largest frame", here["frame_bytes_max"], FRAME_BYTES_MAX)
        pong = self.till.question(Kind.PING).body["server_time"]
        expect("the clock goes on", pong >= here["server_time"], True)
        return f"version 1, {here['credits']} credits, position {here['position']}"

    def register(self):
        expect("a fresh id", self.till.balance(self.coupon)["code"], 16)
        self.approved("programme", self.office.programme(self.programme, "exercise", new_key()))
        self.approved("shop", self.office.shop(self.shop, "Soba-ya", new_key()))
        for coupon in (self.coupon, self.second, self.third):
            self.approved("issue", self.office.issue(coupon, self.programme, 10_000, new_key()), 10_000)
            self.left[coupon] = 10_000
        return f"programme {self.programme}, shop {self.shop}, three coupons of 10,000 yen"

    def pay(self):
        paid = self.till.debit(self.coupon, self.shop, 1_500, new_key())
        self.approved("debit", paid, 1_500)
        self.left[self.coupon] -= 1_500
        expect("balance", paid.balance, 8_500)
        expect("recorded for the first time", (paid.replayed, paid.position > 0), (False, True))
        expect("to be acknowledged", paid.number > 0, True)
        self.first = paid
        return f"approved at position {paid.position}"

    def repeat(self):
        again = self.till.debit(self.coupon, self.shop, 1_500, self.first.key, deadline_ms=5_000, age_ms=1_000)
        expect("marked as a repeat", again.replayed, True)
        expect("the same bytes", again.raw.hex(), self.first.raw.hex())
        other = Client(*self.address, **self.who(502))
        expect("over another gateway", other.debit(self.coupon, self.shop, 1_500, self.first.key).raw, self.first.raw)
        other.close()
        self.till.acknowledge(self.first)
        pong = self.till.connect().ask(Kind.PING, timeout_s=5.0)
        expect("the acknowledgement is taken", (pong.kind, self.till.connect().acked), (Kind.PING, self.first.number))
        return "the same body, marked replayed, over two gateways"

    def conflict(self):
        r = self.till.debit(self.coupon, self.shop, 1_501, self.first.key)
        expect("conflict", (r.outcome, r.name), (Outcome.REFUSED, "conflict"))
        expect("it names the decision", (r.position, r.related), (0, self.first.position))
        return f"the same key for another amount names position {r.related}"

    def second_press(self):
        key = new_key()
        r = self.till.debit(self.coupon, self.shop, 1_500, key)
        expect("suspected", (r.outcome, r.position, r.related), (Outcome.SUSPECTED, 0, self.first.position))
        expect("nothing taken", self.till.balance(self.coupon)["balance"], self.left[self.coupon])
        meant = self.till.debit(self.coupon, self.shop, 1_500, key, token=r.related)
        self.approved("with the token", meant, 1_500)
        self.left[self.coupon] -= 1_500
        again = self.till.debit(self.coupon, self.shop, 1_500, key)
        expect("the token is no part of what is asked", (again.raw, again.replayed), (meant.raw, True))
        self.till.acknowledge(meant)
        return f"asked about, with token {r.related} approved"

    def no_funds(self):
        key = new_key()
        r = self.till.debit(self.coupon, self.shop, 999_999, key)
        expect("declined", (r.outcome, r.name, r.position > 0), (Outcome.DECLINED, "insufficient-funds", True))
        expect("a decline is kept", self.till.debit(self.coupon, self.shop, 999_999, key).raw, r.raw)
        return "declined, and the same again"

    def fence_undecided(self):
        key = new_key()
        expect("not seen", self.till.status(self.coupon, key).name, "not-seen")
        r = self.till.fence(self.coupon, key)
        expect("fenced", (r.outcome, r.position > 0, r.replayed), (Outcome.FENCED, True, False))
        late = self.till.debit(self.coupon, self.shop, 700, key)
        expect("the late original", (late.raw, late.replayed), (r.raw, True))
        s = self.till.status(self.coupon, key)
        expect("status", (s.outcome, s.state), (Outcome.FENCED, State.FENCED))
        return f"never, from position {r.position} on"

    def fence_decided(self):
        r = self.till.fence(self.coupon, self.first.key)
        expect("the decision stands", (r.raw, r.replayed), (self.first.raw, True))
        return "a fence on a decided key gives the decision"

    def reversal_first(self):
        key, undo = new_key(), new_key()
        r = self.till.reverse(self.coupon, key, undo)
        self.approved("reversal", r, 0)
        late = self.till.debit(self.coupon, self.shop, 800, key)
        expect("the late original", (late.outcome, late.position), (Outcome.FENCED, r.position))
        expect("nothing taken", self.till.balance(self.coupon)["balance"], self.left[self.coupon])
        return "the reversal is accepted, the original that follows is fenced"

    def refund(self):
        self.approved("refund", self.till.refund(self.coupon, self.first.key, 500, new_key()), 500)
        self.left[self.coupon] += 500
        s = self.till.status(self.coupon, self.first.key)
        expect("status", (s.position, s.state), (self.first.position, State.PARTLY_RETURNED))
        over = self.till.refund(self.coupon, self.first.key, 1_001, new_key())
        expect("no more than was taken", over.name, "exceeds-original")
        return "500 yen back, more than the rest refused"

    def reverse(self):
        original, undo = self.spend(self.coupon, 1_200), new_key()
        part = self.till.reverse(self.coupon, original, new_key(), remain=200)
        self.approved("reversal to 200", part, 1_000)
        r = self.till.reverse(self.coupon, original, undo)
        self.approved("reversal", r, 200)
        self.left[self.coupon] += 1_200
        expect("repeated", self.till.reverse(self.coupon, original, undo).raw, r.raw)
        expect("status", self.till.status(self.coupon, original).state, State.REVERSED)
        return "to 200 yen, then to nothing"

    def holds(self):
        one, two = new_key(), new_key()
        self.approved("hold", self.till.hold(self.coupon, self.shop, 2_000, one, seconds=600), 2_000)
        b = self.till.balance(self.coupon)
        expect("held", (b["balance"], b["held"]), (self.left[self.coupon] - 2_000, 2_000))
        expect("open", self.till.status(self.coupon, one).state, State.OPEN)
        self.approved("capture", self.till.capture(self.coupon, one, new_key(), 1_600), 1_600)
        self.left[self.coupon] -= 1_600
        expect("captured", self.till.status(self.coupon, one).state, State.CAPTURED)
        self.approved("second hold", self.till.hold(self.coupon, self.shop, 300, two), 300)
        self.approved("void", self.till.void(self.coupon, two, new_key()), 300)
        expect("too late", self.till.capture(self.coupon, two, new_key()).name, "voided")
        return "1,600 of 2,000 yen captured, another one voided"

    def confirmation(self):
        key = new_key()
        self.approved("confirmed debit", self.till.debit_confirmed(self.coupon, self.shop, 450, key, seconds=60), 450)
        expect("open", self.till.status(self.coupon, key).state, State.OPEN)
        self.approved("confirm", self.till.confirm(self.coupon, key, new_key()), 450)
        self.left[self.coupon] -= 450
        return "450 yen, confirmed"

    def partial(self):
        r = self.till.debit(self.second, self.shop, 12_345, new_key(), partial=True)
        expect("partial", (r.outcome, r.name, r.amount), (Outcome.APPROVED, "partially-approved", 10_000))
        self.left[self.second] = 0
        return "10,000 of 12,345 yen"

    def charge(self):
        self.approved("charge", self.till.charge(self.third, self.wallet, new_key(), 4_000), 4_000)
        self.left[self.third] -= 4_000
        self.left[self.wallet] = 4_000
        self.approved("load", self.till.load(self.wallet, self.programme, 1_000, new_key()), 1_000)
        self.left[self.wallet] += 1_000
        b = self.till.balance(self.wallet)
        expect("two lots, one of them paid", sorted(l["paid"] for l in b["lots"]), [0, 1])
        return "4,000 yen into a wallet, and 1,000 by cash"

    def resolve(self):
        never = new_key()
        expect("nothing was sent", self.till.resolve(self.coupon, never).outcome, Outcome.FENCED)
        # The answer is lost: the connection goes while the request is on its way.
        lost = new_key()
        c = self.connect()
        body = _purchase(self.shop, "T1", 333, 0, 0, False)
        c.send(Kind.DEBIT, body, account=text_id(self.wallet), key=lost, namespace=self.NAMESPACE, deadline_ms=5_000)
        c.close()
        r = self.till.resolve(self.wallet, lost)
        if r.outcome is Outcome.APPROVED:
            self.left[self.wallet] -= 333
        expect("decided one way or the other", r.outcome in (Outcome.APPROVED, Outcome.FENCED), True)
        again = self.till.debit(self.wallet, self.shop, 333, lost, terminal="T1")
        expect("and it stays", (again.code, again.position, again.replayed), (r.code, r.position, True))
        return f"an unsent key is fenced, a lost answer is {r.name}"

    def lost_once(self):
        line, key = BadLine(self.address, cuts=1, pieces=self.greetings()), new_key()
        till = Client(*line.address, **self.who(self.GATEWAY))
        r = till.debit(self.wallet, self.shop, 120, key)
        self.approved("debit over a bad line", r, 120)
        expect("the second answer is the stored one", (r.replayed, line.taken), (True, 2))
        self.left[self.wallet] -= 120
        till.close()
        line.close()
        return "the first answer is lost, the same key gets it again"

    def lost_always(self):
        line, key = BadLine(self.address, cuts=1_000_000, pieces=self.greetings()), new_key()
        till = Client(*line.address, **self.who(self.GATEWAY))
        r = till.debit(self.wallet, self.shop, 130, key, deadline_ms=300)
        expect("no answer is no decline", (r.outcome, r.position, r.fence_first), (Outcome.UNKNOWN, 0, True))
        till.close()
        line.close()
        found = self.till.resolve(self.wallet, key)
        # FENCED only where the machine is so slow that no attempt came in time: then nothing was taken.
        expect("over a good line", found.outcome in (Outcome.APPROVED, Outcome.FENCED), True)
        self.left[self.wallet] -= 130 if found.outcome is Outcome.APPROVED else 0
        return f"unknown after {line.taken} attempts, then resolved: {found.name}"

    def nobody_there(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        till = Client(*address, **self.who(self.GATEWAY))
        r = till.debit(self.wallet, self.shop, 140, new_key(), deadline_ms=200)
        expect("nothing was sent", (r.outcome, r.fence_first), (Outcome.NOT_EXECUTED, False))
        return "not executed without a connection"

    def late(self):
        r = self.till.debit(self.coupon, self.shop, 111, new_key(), deadline_ms=1_000, age_ms=2_000)
        expect("too late", (r.outcome, r.name), (Outcome.NOT_EXECUTED, "deadline-passed"))
        return "not executed after the deadline"

    def borders(self):
        c = self.connect()
        head = dict(account=text_id(self.coupon), key=new_key(), namespace=self.NAMESPACE)
        pay = _purchase(self.shop, "", 10, 0, 0, False)

        def code(kind, body, **changed):
            answer = c.ask(kind, body, timeout_s=5.0, **(head | changed))
            return CODES[answer.body["code"]], bool(answer.flags & FLAG_REFUSED)

        expect("another namespace", code(Kind.DEBIT, pay, namespace=22), ("namespace-not-allowed", False))
        issue = dict(programme=self.programme, stay_end_day=0, kind=0, amount=1, expires_at=0, valid_from=0)
        expect("the other port's", code(Kind.ISSUE, issue), ("operation-unknown", False))
        expect("a question of the other port", code(Kind.DIGEST, None), ("operation-unknown", True))
        for amount in (0, 10**12, 2**64 - 5):
            expect("no amount", code(Kind.DEBIT, pay | dict(amount=amount)), ("amount-invalid", False))
        expect("a flag", code(Kind.DEBIT, pay, flags=1), ("malformed", False))
        expect("no key", code(Kind.DEBIT, pay, key=bytes(16)), ("key-clock", False))
        old = (1_600_000_000_000).to_bytes(6, "big") + new_key()[6:]
        expect("an old key", code(Kind.DEBIT, pay, key=old), ("key-too-old", False))
        expect("its fence too", code(Kind.FENCE, None, key=old), ("key-too-old", False))
        REQUESTS[63] = _NOTHING
        expect("an unknown kind", code(63, None), ("operation-unknown", True))
        del REQUESTS[63]
        expect("a fence", code(Kind.FENCE, None), ("fenced", False))
        expect("no amount, under a decided key", code(Kind.DEBIT, pay | dict(amount=0)), ("fenced", False))
        key = new_key()
        decided = code(Kind.DEBIT, pay | dict(amount=10**9), key=key)
        expect("too much", decided, ("insufficient-funds", False))
        expect("a flag, under a decided key", code(Kind.DEBIT, pay, key=key, flags=1), ("conflict", False))
        c.close()
        return "fifteen requests that are refused, the connection stays"

    def reinstate(self):
        people = dict(maker=padded("sato", 16), approver=padded("suzuki", 16))
        people |= dict(reason=padded("exercise", 48), incident=1)
        body = dict(programme=self.programme, amount=100, corrects=bytes(16), plan=0) | people
        body |= dict(expires_at=(time.time_ns() // 1_000) + 86_400_000_000)
        alone = self.office.reinstate(self.coupon, body, new_key())
        expect("without a plan", (alone.outcome, alone.name), (Outcome.REFUSED, "plan-mismatch"))
        plan = self.office.question(Kind.PLAN_REINSTATE, body, account=text_id(self.coupon)).body
        expect("plan", (plan["count"], plan["sum"]), (1, 100))
        body["plan"] = plan["digest"]
        same = self.office.reinstate(self.coupon, body | dict(approver=body["maker"]), new_key())
        expect("one person", same.name, "same-person")
        self.approved("reinstatement", self.office.reinstate(self.coupon, body, new_key()), 100)
        self.left[self.coupon] += 100
        return "100 yen, planned, by two people"

    def stand_in(self):
        caps = dict(stand_in_payment_max=3_000, stand_in_account_max=3_000, stand_in_shop_max=30_000)
        caps |= dict(stand_in_total_max=60_000, stand_in_seconds=60)
        off = self.till.lease(self.programme, bytes(16), caps, new_key())
        expect("off by default", (off.outcome, off.name), (Outcome.DECLINED, "stand-in-off"))
        self.approved("rules", self.office.programme(self.programme, "exercise", new_key(), **caps))
        lease = self.approved("lease", self.till.lease(self.programme, bytes(16), caps, new_key()), 60_000)
        other = self.till.lease(self.programme, b"another client..", caps, new_key())
        expect("one client at a time", other.name, "lease-held")
        told, fenced = new_key(), new_key()
        how = (self.programme, lease.position, time.time_ns() // 1_000)
        first = self.approved("advice", self.till.advise(self.third, self.shop, 701, told, *how), 701)
        again = self.till.advise(self.third, self.shop, 701, told, *how)
        expect("told again", (again.raw, again.replayed), (first.raw, True))
        late = self.till.debit(self.third, self.shop, 701, told)
        expect("the debit, late", (late.raw, late.replayed), (first.raw, True))
        self.till.fence(self.third, fenced)
        self.approved("advice under a fenced key", self.till.advise(self.third, self.shop, 302, fenced, *how), 302)
        self.left[self.third] -= 701 + 302
        listed = self.office.history(account=text_id(self.third), only=2)
        expect("for the office", [(e["key"], e["amount"], e["flags"] & 32) for e in listed], [(fenced, 302, 32)])
        return "off, then two debits told, one of them beside a fence"

    def balances(self):
        for account, yen in self.left.items():
            b = self.till.balance(account)
            expect(account, (b["balance"], b["held"], b["wallet"]), (yen, 0, int(account == self.wallet)))
            expect(f"{account}: sum of its lots", sum(l["remaining"] for l in b["lots"]), yen)
        return ", ".join(f"{account} {yen:,}" for account, yen in self.left.items())

    def history(self):
        entries = self.office.history(account=text_id(self.coupon))
        mine = [e for e in entries if e["key"] == self.first.key and not e["flags"] & (FLAG_REPLAYED | FLAG_REFUSED)]
        found = [(e["position"], e["amount"], e["code"]) for e in mine]
        expect("the first debit", found, [(self.first.position, 1_500, 0)])
        expect("its lots", sum(lot["yen"] for lot in mine[0]["lots"]), 1_500)
        last = self.office.history(account=text_id(self.coupon), limit=3)
        expect("a limit", [e["position"] for e in last], [e["position"] for e in entries[:3]])
        signed = [e["approval"] for e in entries if "approval" in e and e["code"] == 0]
        people = [(text_of(a["maker"]), text_of(a["approver"]), a["incident"]) for a in signed]
        expect("who answers for the reinstatement", people, [("sato", "suzuki", 1)])
        return f"{len(entries)} entries"

    def reports(self):
        p = self.office.question(Kind.LIST_PROGRAMMES).body["programmes"]
        expect("programme", [text_of(x["name"]) for x in p if x["id"] == self.programme], ["exercise"])
        after, shops = 0, []
        while True:
            body = self.office.question(Kind.LIST_SHOPS, dict(after=after)).body
            shops, after = shops + body["shops"], body["next"]
            if after == 0:
                break
        expect("shop", [text_of(s["name"]) for s in shops if text_of(s["id"]) == self.shop], ["Soba-ya"])
        sums = self.office.question(Kind.DIGEST).body["programmes"]
        mine = {k: int.from_bytes(v, "little") for s in sums if s["programme"] == self.programme
                for k, v in s.items() if k != "programme"}  # fmt: skip
        made = mine["issued"] + mine["charged"] + mine["reinstated"] + mine["shortfall"]
        gone = mine["spent"] - mine["returned"] + mine["expired"] + mine["paid_out"]
        expect("every yen is somewhere", made, mine["balances"] + gone)
        expect("balances", mine["balances"], sum(self.left.values()))
        s = self.office.question(Kind.SERVER_STATUS).body
        expect("positions in order", s["applied"] <= s["durable"] <= s["submitted"] <= s["accepted"], True)
        return f"version {text_of(s['version'])}, {made:,} yen made, {mine['balances']:,} left"

    def half_close(self):
        c = self.connect()
        request = c.send(Kind.PING)
        c.socket.shutdown(socket.SHUT_WR)
        expect("answered after the half-close", c.answer_to(request, 5.0).kind, Kind.PING)
        try:
            c.receive(5.0)
        except NotAnswered as e:
            expect("the end", str(e), "the server closed the connection")
        return "what is in flight is answered, then the end"

    def future(self):
        c = self.connect()
        c.acked = 1
        c.send(Kind.ACK)
        return "an answer that was never given is acknowledged: " + self.ends(c, 3)

    def damage(self):
        c = self.connect()
        frame = bytearray(encode_request(Kind.PING, request_id=9))
        frame[20] ^= 1
        c.send_bytes(bytes(frame))
        return self.ends(c, 5)

    def ends(self, c: Connection, reason: int) -> str:
        """The server says why, and closes."""
        answer = c.receive(5.0)
        expect("goodbye", (answer.kind, answer.body["reason"]), (Kind.GOODBYE, reason))
        try:
            c.receive(5.0)
        except NotAnswered:
            c.close()
            return f"goodbye: {CLOSE_REASONS[reason]}"
        raise Deviation("the connection goes on after a goodbye")

    def strange_version(self):
        try:
            self.connect(versions=(7, 9))
        except Refused as e:
            expect("hello", CODES[e.code], "version-unknown")
        else:
            raise Deviation("versions 7 to 9 are spoken")
        c = self.connect()
        frame = bytearray(encode_request(Kind.PING, request_id=9))
        frame[9] = 2
        c.send_bytes(_seal(bytes(frame)))
        return self.ends(c, 6)

    def strangers(self):
        mine = self.who(self.GATEWAY)["credential"]
        flipped = bytes([mine.secret[0] ^ 1]) + mine.secret[1:]
        for what, how in {
            "no proof": dict(credential=None),
            "a wrong secret": dict(credential=Credential(mine.name, flipped)),
            "a credential that nobody has": dict(credential=Credential("nobody", mine.secret)),
            "another gateway's number": dict(gateway=502),
        }.items():
            try:
                self.connect(**how).close()
            except Refused as e:
                expect(what, CODES[e.code], "unauthenticated")
            else:
                raise Deviation(f"{what} is taken")
        try:
            self.connect(namespaces=(self.NAMESPACE, 99)).close()
        except Refused as e:
            expect("another's namespace", CODES[e.code], "namespace-not-allowed")
        else:
            raise Deviation("another's namespace is taken")
        return "nobody else gets in"

    def goodbye(self):
        self.till.close()
        self.office.close()
        return "closed"


def main() -> int:
    parser = argparse.ArgumentParser(description="Exercises a Tegata server, or checks the golden frames.")
    parser.add_argument("--gateway", metavar="HOST:PORT", help="the port that gateways connect to")
    parser.add_argument("--operate", metavar="HOST:PORT", help="the port that operators connect to")
    parser.add_argument("--vectors", metavar="DIR", type=Path, help="the folder with the golden frames")
    parser.add_argument("--credentials", metavar="FILE", help="secrets of gateways 501 and 502 and of operator 1")
    args = parser.parse_args()
    if bool(args.gateway) != bool(args.operate) or not (args.gateway or args.vectors):
        parser.error("--gateway and --operate, or --vectors, or all three")

    def address(text: str) -> tuple[str, int]:
        host, _, port = text.rpartition(":")
        return host.strip("[]"), int(port)

    try:
        if args.vectors:
            check_vectors(args.vectors)
        if args.gateway:
            Exercise(address(args.gateway), address(args.operate), args.credentials).run()
    except (Deviation, TegataError, ValueError) as e:
        print(f"DEVIATION  {type(e).__name__}: {e}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
