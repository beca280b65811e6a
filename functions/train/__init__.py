"""Trains the sample models. Not a stage: it runs by hand and writes the folders that the functions carry."""
