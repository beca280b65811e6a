"""The engine under a simulated world, with faults chosen by a seed."""
