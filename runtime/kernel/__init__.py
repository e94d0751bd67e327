"""The only door to system calls: clone3, setns, mounts, pivot_root, pidfd, prctl."""
