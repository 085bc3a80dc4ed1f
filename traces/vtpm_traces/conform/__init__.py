"""Conformance: drives anybody's frontend or backend through a protocol, and lets the validator judge what it did."""
