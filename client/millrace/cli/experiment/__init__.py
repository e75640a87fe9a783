"""Experiments: how many units one needs, and what its units come to.

Options are in ``app``, files are read in ``reading``, what is printed is in ``showing``; what is computed is in
``millrace_core.experiments``.
"""

from millrace.cli.experiment.app import app

__all__ = ["app"]
