"""The platform that is this host: each domain is a process of its own, and what domains share is shared memory."""
