"""What hands tickets to workers: `local`, a pool of warm processes on this machine.

What a worker does with a ticket is `trapline.runtime`; which ticket is next is decided by the ledger.
"""
