"""A conforming implementation of the Xen vTPM, written apart from the specification."""
