"""A peer that knows nothing of Quark: any gRPC library and the original's ten fields.

It sends no metadata and does nothing clever. Tests put it beside a silo to see that a *plain* peer is served. What is
here is made of grpcio and protobuf alone and imports nothing of Quark.
"""

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
