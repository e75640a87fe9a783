"""Serve an ONNX model on this machine, with no cluster: the server of a pod, by HTTP and gRPC.

The one command line of the services: it needs typer, which no image of a process has.
"""
