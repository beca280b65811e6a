"""Inputs that cameras, bad cards and attackers leave: files, names, manifests. Built here, none is stored."""
