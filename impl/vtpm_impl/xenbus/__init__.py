"""The handshake of both ends through xenstore, driving the ring."""
