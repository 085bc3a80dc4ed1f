"""What systems were seen to do, read and held against the specification."""
