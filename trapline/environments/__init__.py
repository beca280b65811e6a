"""Which libraries a function needs, which are installed where it runs, and the environments that functions have alone.

Who runs what in which process is `trapline.executors`.
"""
