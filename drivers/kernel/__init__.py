"""The only door to netlink, nftables and network namespaces."""
