"""Running chosen tests on kernels other than the machine's own."""
