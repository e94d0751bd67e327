"""Netmodel beside dockerd, podman and Mininet, and above the floor that the kernel sets; see __main__.py."""
