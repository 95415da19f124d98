"""From a source database to append-only bronze Delta tables."""
