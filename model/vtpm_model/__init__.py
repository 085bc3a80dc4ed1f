"""What the Xen virtual TPM protocol is, in plain Python: no solver, no input or output, no cryptography."""
