"""Names the insects that were found."""
