"""Strongroom: an S3-compatible object store that encrypts everything it stores."""
