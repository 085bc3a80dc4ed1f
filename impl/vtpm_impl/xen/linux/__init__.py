"""The platform that is real Xen: a domain whose kernel is Linux, through that kernel's devices, and no library."""
