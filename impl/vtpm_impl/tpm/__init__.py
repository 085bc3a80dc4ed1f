"""The wire formats of the TPM, as far as a carrier of commands needs them."""
