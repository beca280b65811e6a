"""`trapline bench`: how fast the pipeline is on this machine, against a bare loop over the same functions and files.

What is measured runs elsewhere: an engine as `trapline up` starts it, watched from outside. Nothing is asserted here.
"""
