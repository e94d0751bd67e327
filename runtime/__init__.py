"""Processes, root file systems, control groups, images and volumes. Of networks it knows a namespace to join."""
