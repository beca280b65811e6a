"""`trapline try`: one function on local files, with the real runtime over a store in memory. No bucket, no engine."""
