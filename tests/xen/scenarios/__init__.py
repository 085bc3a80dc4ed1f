"""What happens on the rig, a scenario a file; each leaves no domain behind."""
