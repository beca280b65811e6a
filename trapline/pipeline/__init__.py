"""`pipeline.yaml` and `function.yaml`: load, check, and say what is wrong where.

What a stage does with an image is not here; nothing here reads a bucket.
"""
