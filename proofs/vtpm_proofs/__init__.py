"""Why the specification holds: symbolic runs, proofs, searches, mutants, and the command `vtpmspec`."""
