"""The embedded mode's agent: controllers, node and mesh in one process."""
