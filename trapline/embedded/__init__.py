"""The S3 endpoint of a laptop: `rclone serve s3` over a folder, which the engine itself reads and writes directly.

Nothing here decides what is written; that a client sees it whole and soon is all that this room is for.
"""
