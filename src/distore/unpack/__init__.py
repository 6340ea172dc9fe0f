"""Images unpacked: layers verified and laid over each other."""
