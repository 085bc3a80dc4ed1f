"""What runs in the domains of the rig: it knows the standard library and `vtpm_impl`, nothing of the tests."""
