"""What several test files share: boxes (network namespaces) and waiting on conditions."""
