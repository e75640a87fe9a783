"""Jobs: pods that run to completion, counted exactly, retried with back-off, ended for stated reasons."""
