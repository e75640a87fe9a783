"""The scheduler: binds pods to nodes that have room for them and that they accept."""
