"""Bytes ↔ messages, for every call: how large one may be, and what happens to bytes that are none."""

from __future__ import annotations

from typing import Any

import betterproto2
from google.protobuf.message import DecodeError
from grpclib.encoding.base import CodecBase

from transport.columns import CodecError
from transport.descriptors import checker

MAX_MESSAGE = 1024 * 1024  # bytes; larger ones end their stream, at the sender and at the receiver


class Codec(CodecBase):
    """What grpclib encodes and decodes with. Raises CodecError only."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        data: bytes = message.SerializeToString()
        if len(data) > MAX_MESSAGE:
            name = type(message).__name__
            raise CodecError(f"{name} would take {len(data)} bytes; a message may have at most {MAX_MESSAGE}")
        return data

    def decode(self, data: bytes, message_type: Any) -> Any:
        return parse(data, message_type)


def parse(data: bytes, message_type: Any) -> Any:
    """The generated parser trusts its input and takes quadratic time for unknown fields. So protobuf's own reads
    the bytes first, strictly, and what it doesn't know, of a newer release, is left out."""
    try:
        if not issubclass(message_type, betterproto2.Message):
            return message_type.FromString(data)
        checked = checker(message_type.__name__).FromString(data)
        checked.DiscardUnknownFields()
        return message_type.FromString(checked.SerializeToString())
    except (DecodeError, ValueError, RecursionError) as error:
        raise CodecError(f"not a {message_type.__name__}: {error}") from error
