"""What the control domain does: domains' nodes, and devices made, listed and taken away, as libxl does it."""
