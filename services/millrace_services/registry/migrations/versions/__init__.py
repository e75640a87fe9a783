"""The revisions, each a file that is never edited once it was released."""
