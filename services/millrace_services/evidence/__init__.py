"""The evidence job: merges the lake's small files, and deletes its old ones."""
