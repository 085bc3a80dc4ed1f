"""What a vTPM needs of Xen: the xenstore, grants and event channels, on whichever platform there is."""
