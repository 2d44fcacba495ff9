"""What every room may know: what can go wrong, what is valid, what is counted and traced."""
