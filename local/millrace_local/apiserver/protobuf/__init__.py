"""Reading request bodies that Go clients send as protobuf: Helm, and ``kubectl create`` with its like."""

from millrace_local.apiserver.protobuf.decoding import MEDIA_TYPE, UndecodableError, UnknownMessageError, decode

__all__ = ["MEDIA_TYPE", "UndecodableError", "UnknownMessageError", "decode"]
