"""What `trapline new function` copies, one folder a kind. In each file the name stands where the new one will."""
