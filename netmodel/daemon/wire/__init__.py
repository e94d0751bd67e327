"""The shapes of JSON that cross the socket: Docker's requests become configs, our records become Docker's answers."""
