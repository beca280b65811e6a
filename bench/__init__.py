"""What other ways of running the same two functions cost, beside Trapline's own, measured in one run on one machine.

    .venv/bin/pip install --constraint constraints.txt --editable '.[bench]'
    apt-get install redis-server        # Debian's, for dramatiq
    .venv/bin/python -m bench.peers [--images N] [--workers K] [--size 2MP|12MP] [--rounds R] [--json]

A module named `peer_…` starts one peer and measures it; the module that it has run in the peer's own processes stands
beside it. A peer that is not installed is told as not run. Nothing here is imported by the package or by its tests.
"""
