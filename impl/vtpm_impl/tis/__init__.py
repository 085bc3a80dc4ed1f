"""The hardware TPM behind the TPM Interface Specification (TIS): registers, driver, and where registers live."""
