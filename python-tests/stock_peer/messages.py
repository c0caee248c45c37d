"""The message class, made of stock_transport.proto when this module is imported; no protobuf compiler is needed."""

from __future__ import annotations

import re
import time
import uuid
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PROTO = Path(__file__).with_name("stock_transport.proto")
METHOD_PATH = "/quark.QuarkTransport/ActorStream"

_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int64": _Field.TYPE_INT64,
    "bool": _Field.TYPE_BOOL,
}


def _message_class() -> Any:
    """Reads the one flat message of the file. A pool of its own, so that no other `quark` package is in the way."""
    text = PROTO.read_text(encoding="utf-8")
    file = descriptor_pb2.FileDescriptorProto(name=PROTO.name, package="quark", syntax="proto3")
    message = file.message_type.add(name="EnvelopeMessage")
    for kind, name, number in re.findall(r"^  (\w+) (\w+) = (\d+);$", text, re.MULTILINE):
        message.field.add(name=name, number=int(number), type=_TYPES[kind], label=_Field.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("quark.EnvelopeMessage"))


EnvelopeMessage: Any = _message_class()


def new_message(**fields: Any) -> Any:
    """A message with a new id and the time, unless they are given."""
    fields.setdefault("message_id", str(uuid.uuid4()))
    fields.setdefault("timestamp", int(time.time() * 1000))
    return EnvelopeMessage(**fields)


def encode(message: Any) -> bytes:
    """The bytes of a message."""
    content: bytes = message.SerializeToString()
    return content


def decode(content: bytes) -> Any:
    """The message in some bytes."""
    return EnvelopeMessage.FromString(content)
