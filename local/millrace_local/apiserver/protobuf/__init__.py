"""Reads protobuf request bodies, which Go clients such as Helm and ``kubectl create`` send."""

from millrace_local.apiserver.protobuf.decoding import MEDIA_TYPE, UndecodableError, UnknownMessageError, decode

__all__ = ["MEDIA_TYPE", "UndecodableError", "UnknownMessageError", "decode"]
