"""What runs: one folder per function. Functions import `trapline`, never each other and never triggers."""
