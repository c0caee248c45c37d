"""A peer that knows nothing of Quark: any gRPC library and the original's ten fields.

It sends no metadata and does nothing clever. Tests put it beside a silo to see that a *plain* peer is served. What is
here is made of grpcio and protobuf alone and imports nothing of Quark.
"""

import os

# What grpcio does in a forked child, which goes on to another program at once, ends some of them before that.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from .client import StockClient
from .messages import METHOD_PATH, EnvelopeMessage, decode, encode, new_message
from .server import Handler, StockServer

__all__ = [
    "METHOD_PATH",
    "EnvelopeMessage",
    "Handler",
    "StockClient",
    "StockServer",
    "decode",
    "encode",
    "new_message",
]
