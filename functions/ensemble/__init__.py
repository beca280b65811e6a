"""Joins what several classifiers say of the same detections."""
