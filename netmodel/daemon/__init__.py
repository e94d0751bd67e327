"""The engine as a process: Docker's Engine API, and our own below /netmodel/, on a unix socket."""
