"""The sub-commands of `vtpm`, a module each."""
