"""Network drivers: a network becomes links and firewall rules, an endpoint becomes a link in a namespace."""
