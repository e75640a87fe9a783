"""A small asynchronous Kubernetes API client for the embedded mode's own controllers, node and mesh.

``config`` reads a kubeconfig, ``api`` makes requests, ``informer`` keeps a local copy of a resource by list and watch,
``events`` reports to users; the rest are pure readings of Kubernetes' own formats. It talks to any API server.
"""
