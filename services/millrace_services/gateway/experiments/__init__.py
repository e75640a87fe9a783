"""Experiments at the gateway: units are assigned, exposures and outcomes logged, and their sums kept in the store."""
