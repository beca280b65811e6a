"""The object store: one seam, and what is behind it (S3, a folder, memory).

Nothing here knows what a key means; that is `trapline.keys`.
"""
