"""The sample night: what a station's camera wrote, and what should become of each file."""
