"""What tests of distore and of programs on top of it share."""
