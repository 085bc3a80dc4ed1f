"""Readers of other people's recordings, as they lie."""
