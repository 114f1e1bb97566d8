"""Messages between two machines of one job: one JSON line each, and each proves that its sender has the job's token.

Both sides begin with a random number. A message carries an HMAC-SHA256 over its speaker, both random numbers, its own
number and its text, so it can be neither forged nor replayed, and nobody without the token makes us start a command.
"""

from __future__ import annotations

import hmac
import json
import secrets
import socket
import time
from typing import Any

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.errors import PeerError

SILENCE_S = 15.0
"""A side that is silent for longer is gone."""

HEAD, AGENT = "head", "agent"
"""The two sides."""

STOP, FAIL = "stop", "fail"
"""What a head may order while ranks run: ask them to stop; end them, because others are lost."""

_BEAT_S = 3.0
_LONGEST = 1 << 16  # bytes of a line
_PART = 1 << 14

Message = dict[str, Any]


class Channel:
    """One connection. Nothing blocks: call `messages` several times a second."""

    def __init__(self, connection: socket.socket, token: str, we: str, they: str) -> None:
        """`we` and `they` are the names of the two sides, the same two at both ends."""
        connection.setblocking(False)
        self._connection, self._token = connection, token.encode()
        self._we, self._they = we, they
        self._our_nonce, self._their_nonce = secrets.token_hex(16), ""
        self._incoming, self._outgoing = bytearray(), bytearray(f"{self._our_nonce}\n".encode())
        self._early: list[bytes] = []  # said before their random number was here
        self._sent = self._received = 0
        self._heard_at = self._spoke_at = time.monotonic()
        self._closed = False
        self._write()

    @property
    def proved(self) -> bool:
        """Has the other side shown that it has the token?"""
        return self._received > 0

    def send(self, **message: JSON) -> None:
        """Send a message. It leaves now or with one of the next calls of `messages`."""
        self._spoke_at = time.monotonic()
        text = encode_canonical(message)
        if self._their_nonce:
            self._outgoing += self._proof(self._we, self._sent, text) + b" " + text + b"\n"
            self._sent += 1
        else:
            self._early.append(text)
        self._write()

    def messages(self) -> list[Message]:
        """What has come since the last call.

        Raises:
            PeerError: The other side has closed, is silent, lacks our token, or sends a line without end.
        """
        self._read()
        received = [message for line in self._take_lines() if (message := self._open(line))]
        if not received:
            self._check_peer()
        if self._their_nonce and time.monotonic() - self._spoke_at > _BEAT_S:
            self.send()
        self._write()
        return received

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _check_peer(self) -> None:
        if self._closed:
            raise PeerError(f"the {self._they} closed the connection")
        if len(self._incoming) > _LONGEST:
            raise PeerError(f"the {self._they} sent a line of more than {_LONGEST} bytes")
        if (silent := time.monotonic() - self._heard_at) > SILENCE_S:
            raise PeerError(f"the {self._they} said nothing for {silent:.0f} s")

    def _read(self) -> None:
        try:
            while not self._closed and len(self._incoming) <= _LONGEST:
                part = self._connection.recv(_PART)
                self._incoming += part
                self._closed = not part
        except BlockingIOError:
            return
        except OSError:
            self._closed = True

    def _write(self) -> None:
        try:
            while self._outgoing and not self._closed:
                del self._outgoing[: self._connection.send(self._outgoing)]
        except BlockingIOError:
            return
        except OSError:
            self._outgoing.clear()  # what they sent before they left is still to be read

    def _take_lines(self) -> list[bytes]:
        *lines, rest = self._incoming.split(b"\n")
        self._incoming = rest
        return [bytes(line) for line in lines]

    def _open(self, line: bytes) -> Message | None:
        if not self._their_nonce:
            self._receive_nonce(line)
            return None
        proof, _, text = line.partition(b" ")
        if not hmac.compare_digest(proof, self._proof(self._they, self._received, text)):
            raise PeerError(f"the {self._they} has another UNBROKEN_TOKEN")
        self._received += 1
        self._heard_at = time.monotonic()
        message: Message = json.loads(text)
        return message

    def _receive_nonce(self, line: bytes) -> None:
        self._their_nonce = line.hex()
        for text in self._early:
            self.send(**json.loads(text))

    def _proof(self, speaker: str, number: int, text: bytes) -> bytes:
        ours, theirs = self._our_nonce.encode().hex(), self._their_nonce
        nonces = f"{ours} {theirs}" if speaker == self._we else f"{theirs} {ours}"
        return hmac.digest(self._token, f"{speaker} {nonces} {number} ".encode() + text, "sha256").hex().encode()
