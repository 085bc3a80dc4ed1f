"""The sub-commands of `vtpmspec`, one module each."""
